/**
 * Address translation in the bytes: a packet of a translated flow leaves with the tuple of the flow's other side
 * (`packet.leaves`). Checksums are taken along by what changed (RFC 1624), full ones and partial ones; SCTP's, which
 * knows no such thing, is made anew. An ICMP error about the flow has the packet it quotes translated back, so that its
 * receiver knows it again (RFC 5508).
 */

import type { FlowKey } from '../flow-key.ts'
import * as internet from '../formats/checksum.ts'
import * as icmp from '../formats/icmp.ts'
import * as icmpv6 from '../formats/icmpv6.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../formats/protocols.ts'
import * as sctp from '../formats/sctp.ts'
import * as tcp from '../formats/tcp.ts'
import * as udp from '../formats/udp.ts'
import { CHECKSUM_FULL, type Packet } from '../packet.ts'

const SRC6 = 8
const DST6 = 24

export function translate(packet: Packet): void {
  const { leaves, protocol, l4 } = packet
  if (packet.family === 4) translateAddresses4(packet, leaves)
  else translateAddresses6(packet, leaves)
  if (l4 === 0) return
  if (protocol === PROTOCOL_TCP) translatePorts(packet, tcp, leaves.ports)
  else if (protocol === PROTOCOL_UDP) translatePorts(packet, udp, leaves.ports)
  else if (protocol === PROTOCOL_SCTP) translateSctp(packet, leaves.ports)
  else if (!packet.isFlowKey) translateQuoted(packet)
}

function translateAddresses4(packet: Packet, { src3, dst3 }: FlowKey): void {
  const { view, at } = packet
  if (src3 !== packet.src3) {
    tellTransport(packet, packet.src3, src3)
    ipv4.setSrcAddr(view, at, src3)
  }
  if (dst3 === packet.dst3) return
  tellTransport(packet, packet.dst3, dst3)
  ipv4.setDstAddr(view, at, dst3)
}

function translateAddresses6(packet: Packet, leaves: FlowKey): void {
  replaceWord6(packet, SRC6, leaves.src0)
  replaceWord6(packet, SRC6 + 4, leaves.src1)
  replaceWord6(packet, SRC6 + 8, leaves.src2)
  replaceWord6(packet, SRC6 + 12, leaves.src3)
  replaceWord6(packet, DST6, leaves.dst0)
  replaceWord6(packet, DST6 + 4, leaves.dst1)
  replaceWord6(packet, DST6 + 8, leaves.dst2)
  replaceWord6(packet, DST6 + 12, leaves.dst3)
}

function replaceWord6(packet: Packet, offset: number, word: number): void {
  const old = packet.view.getInt32(packet.at + offset)
  if (old === word) return
  tellTransport(packet, old, word)
  packet.view.setInt32(packet.at + offset, word)
}

/** A word of the pseudo-header changed. */
function tellTransport({ view, l4, protocol, checksum }: Packet, old: number, word: number): void {
  if (l4 === 0) return
  const full = checksum === CHECKSUM_FULL
  if (protocol === PROTOCOL_TCP) (full ? tcp.adjustChecksum : tcp.adjustChecksumPartial)(view, l4, old, word)
  else if (protocol === PROTOCOL_UDP) (full ? udp.adjustChecksum : udp.adjustChecksumPartial)(view, l4, old, word)
  else if (protocol === PROTOCOL_ICMPV6) icmpv6.adjustChecksum(view, l4, old, word)
}

function translatePorts({ view, l4, checksum, ports }: Packet, transport: typeof tcp | typeof udp, to: number): void {
  const full = checksum === CHECKSUM_FULL
  if (to >>> 16 !== ports >>> 16) {
    ;(full ? transport.setSrcPort : transport.setSrcPortPartial)(view, l4, to >>> 16)
  }
  if ((to & 0xffff) === (ports & 0xffff)) return
  ;(full ? transport.setDstPort : transport.setDstPortPartial)(view, l4, to & 0xffff)
}

/** A checksum that was wrong stays wrong: its receiver is to find out. */
function translateSctp(packet: Packet, to: number): void {
  const { view, l4, end } = packet
  if (to === packet.ports) return
  const right = packet.isFragment || packet.checksum !== CHECKSUM_FULL || sctp.verifyChecksum(view, l4, end)
  sctp.setSrcPort(view, l4, to >>> 16)
  sctp.setDstPort(view, l4, to & 0xffff)
  if (right && !packet.isFragment && packet.checksum === CHECKSUM_FULL) sctp.fillChecksum(view, l4, end)
}

/**
 * The packet that an ICMP error quotes went the other way: its source becomes where the error goes to, its destination
 * where the flow's other side is. The ICMP checksum covers all of it: it is told what the sum was and what it is.
 */
function translateQuoted(packet: Packet): void {
  const { view, l4, end, quoted } = packet
  const v4 = packet.family === 4
  const before = internet.sum(view, l4 + icmp.HEADER_LEN, end)
  if (v4) quoteAddresses4(view, l4 + icmp.HEADER_LEN, quoted)
  else quoteAddresses6(view, l4 + icmp.HEADER_LEN, quoted)
  if (hasPorts(quoted.protocol)) view.setInt32(packet.quotedL4, quoted.ports)
  const after = internet.sum(view, l4 + icmp.HEADER_LEN, end)
  const checksum = internet.adjustHalf((v4 ? icmp : icmpv6).checksum(view, l4), before, after)
  view.setUint16(l4 + 2, checksum)
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP || protocol === PROTOCOL_SCTP
}

function quoteAddresses4(view: DataView, at: number, { src3, dst3 }: FlowKey): void {
  ipv4.setSrcAddr(view, at, src3)
  ipv4.setDstAddr(view, at, dst3)
}

function quoteAddresses6(view: DataView, at: number, quoted: FlowKey): void {
  ipv6.setSrcAddrWord(view, at, 0, quoted.src0)
  ipv6.setSrcAddrWord(view, at, 1, quoted.src1)
  ipv6.setSrcAddrWord(view, at, 2, quoted.src2)
  ipv6.setSrcAddrWord(view, at, 3, quoted.src3)
  ipv6.setDstAddrWord(view, at, 0, quoted.dst0)
  ipv6.setDstAddrWord(view, at, 1, quoted.dst1)
  ipv6.setDstAddrWord(view, at, 2, quoted.dst2)
  ipv6.setDstAddrWord(view, at, 3, quoted.dst3)
}
