/**
 * A TCP reset in answer to a segment that nobody will take: RFC 9293, 3.5.2. It comes from the address and port that the
 * segment was for, as if that had answered itself.
 */
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_TCP } from '../formats/protocols.ts'
import * as tcp from '../formats/tcp.ts'
import type { Packet } from '../packet.ts'

const TTL = 64

/** Writes the reset to `out.at`, and sets `out` to it. The packet is a TCP segment that is no reset itself. */
export function reset(packet: Packet, out: Packet): void {
  const header = packet.family === 4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN
  out.set(out.at, header + tcp.HEADER_LEN)
  out.family = packet.family
  out.tos = 0
  const segment = out.at + header
  if (packet.family === 4) writeHeader4(packet, out)
  else writeHeader6(packet, out)
  const { view } = packet
  tcp.init(view, segment)
  tcp.setSrcPort(view, segment, packet.ports & 0xffff)
  tcp.setDstPort(view, segment, packet.ports >>> 16)
  const flags = tcp.flags(view, packet.l4)
  if (flags & tcp.FLAG_ACK) {
    tcp.setSequenceNumber(view, segment, tcp.acknowledgmentNumber(view, packet.l4))
    tcp.setFlags(view, segment, tcp.FLAG_RST)
  } else {
    const length = packet.end - packet.payload + (flags & tcp.FLAG_SYN ? 1 : 0) + (flags & tcp.FLAG_FIN ? 1 : 0)
    tcp.setAcknowledgmentNumber(view, segment, (tcp.sequenceNumber(view, packet.l4) + length) | 0)
    tcp.setFlags(view, segment, tcp.FLAG_RST | tcp.FLAG_ACK)
  }
  const ip = packet.family === 4 ? ipv4 : ipv6
  tcp.fillChecksum(view, segment, out.end, ip.pseudoHeader(view, out.at, PROTOCOL_TCP, tcp.HEADER_LEN))
  out.l4 = segment
}

function writeHeader4({ view, dst3, src3 }: Packet, out: Packet): void {
  ipv4.init(view, out.at)
  ipv4.setTotalLength(view, out.at, out.length)
  ipv4.setFlags(view, out.at, ipv4.FLAG_DONT_FRAGMENT)
  ipv4.setTtl(view, out.at, TTL)
  ipv4.setProtocol(view, out.at, PROTOCOL_TCP)
  ipv4.setSrcAddr(view, out.at, dst3)
  ipv4.setDstAddr(view, out.at, src3)
}

function writeHeader6(packet: Packet, out: Packet): void {
  const { view } = packet
  ipv6.init(view, out.at)
  ipv6.setPayloadLength(view, out.at, tcp.HEADER_LEN)
  ipv6.setNextHeader(view, out.at, PROTOCOL_TCP)
  ipv6.setHopLimit(view, out.at, TTL)
  ipv6.setSrcAddrWord(view, out.at, 0, packet.dst0)
  ipv6.setSrcAddrWord(view, out.at, 1, packet.dst1)
  ipv6.setSrcAddrWord(view, out.at, 2, packet.dst2)
  ipv6.setSrcAddrWord(view, out.at, 3, packet.dst3)
  ipv6.setDstAddrWord(view, out.at, 0, packet.src0)
  ipv6.setDstAddrWord(view, out.at, 1, packet.src1)
  ipv6.setDstAddrWord(view, out.at, 2, packet.src2)
  ipv6.setDstAddrWord(view, out.at, 3, packet.src3)
}
