/**
 * The other ways to a flow than by a packet's own tuple: that of the answers to it, and that of the packet which an ICMP
 * error quotes.
 */

import type { FlowKey } from '../flow-key.ts'
import * as icmp from '../formats/icmp.ts'
import * as icmpv6 from '../formats/icmpv6.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../formats/protocols.ts'
import type { Packet } from '../packet.ts'

const upper = ipv6.upperLayer()
/** Every transport that has ports has them in its first four bytes. */
const PORTS_BYTES = 4
const ECHO_BYTES = 8

/** The tuple of the answers to packets of this tuple, as long as nothing is translated. */
export function mirror(key: FlowKey, out: FlowKey): void {
  out.src0 = key.dst0
  out.src1 = key.dst1
  out.src2 = key.dst2
  out.src3 = key.dst3
  out.dst0 = key.src0
  out.dst1 = key.src1
  out.dst2 = key.src2
  out.dst3 = key.src3
  out.protocol = key.protocol
  const echo = key.protocol === PROTOCOL_ICMP || key.protocol === PROTOCOL_ICMPV6
  out.ports = echo ? key.ports ^ 1 : (key.ports << 16) | (key.ports >>> 16)
}

/**
 * The tuple of a packet that would travel as this ICMP error does: the mirror of the one it quotes. False where the
 * message is no error, or does not quote enough.
 */
export function quotedTuple(packet: Packet, key: FlowKey): boolean {
  const { view, l4 } = packet
  const v4 = packet.family === 4
  if (!(v4 ? icmp : icmpv6).isError(view, l4)) return false
  const quoted = l4 + icmp.HEADER_LEN
  return v4 ? quoted4(view, quoted, packet, key) : quoted6(view, quoted, packet, key)
}

function quoted4(view: DataView, at: number, packet: Packet, key: FlowKey): boolean {
  if (packet.end - at < ipv4.HEADER_LEN || view.getUint8(at) >>> 4 !== 4) return false
  const l4 = at + ipv4.headerLength(view, at)
  if (l4 - at < ipv4.HEADER_LEN || ipv4.fragmentOffset(view, at) !== 0) return false
  key.src0 = key.src1 = key.dst0 = key.dst1 = 0
  key.src2 = key.dst2 = 0xffff
  key.src3 = ipv4.dstAddr(view, at)
  key.dst3 = ipv4.srcAddr(view, at)
  return quotedPorts(packet, l4, ipv4.protocol(view, at), key)
}

function quoted6(view: DataView, at: number, packet: Packet, key: FlowKey): boolean {
  if (packet.end - at < ipv6.HEADER_LEN || view.getUint8(at) >>> 4 !== 6) return false
  if (!ipv6.walk(view, at, packet.end, upper) || upper.fragmentOffset !== 0) return false
  key.src0 = ipv6.dstAddrWord(view, at, 0)
  key.src1 = ipv6.dstAddrWord(view, at, 1)
  key.src2 = ipv6.dstAddrWord(view, at, 2)
  key.src3 = ipv6.dstAddrWord(view, at, 3)
  key.dst0 = ipv6.srcAddrWord(view, at, 0)
  key.dst1 = ipv6.srcAddrWord(view, at, 1)
  key.dst2 = ipv6.srcAddrWord(view, at, 2)
  key.dst3 = ipv6.srcAddrWord(view, at, 3)
  return quotedPorts(packet, upper.offset, upper.protocol, key)
}

function quotedPorts(packet: Packet, l4: number, protocol: number, key: FlowKey): boolean {
  const { view, end } = packet
  packet.quotedL4 = l4
  key.protocol = protocol
  key.ports = 0
  if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP || protocol === PROTOCOL_SCTP) {
    if (end - l4 < PORTS_BYTES) return false
    key.ports = (view.getUint16(l4 + 2) << 16) | view.getUint16(l4)
  } else if (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) {
    if (end - l4 < ECHO_BYTES) return false
    const v4 = protocol === PROTOCOL_ICMP
    if (!(v4 ? icmp : icmpv6).isEcho(view, l4)) return false
    const answer = v4 ? icmp.TYPE_ECHO_REPLY : icmpv6.TYPE_ECHO_REPLY
    key.ports = (icmp.identifier(view, l4) << 16) | (icmp.type(view, l4) === answer ? 1 : 0)
  }
  return true
}
