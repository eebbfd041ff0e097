/**
 * What a router says about a packet it could not carry: ICMP errors (RFC 792, RFC 1812 4.3.2, RFC 4443). Which drop
 * reason is answered how stands with the reason (drop-reason.ts).
 *
 * Never about an ICMP error, a fragment after the first, or what went to or came from more than one host: those are
 * how storms begin. The answer quotes the packet as its sender knew it, for nothing is rewritten before the verdict.
 * How often one may speak is the caller's affair.
 */
import type { AddressWords } from '../address.ts'
import * as icmp from '../formats/icmp.ts'
import * as icmpv6 from '../formats/icmpv6.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP } from '../formats/protocols.ts'
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { type Answer, DROP_REASONS } from './drop-reason.ts'
import { mtuBytes } from './mtu.ts'
import { reset } from './reset.ts'
import { route } from './route.ts'

/** As much of the packet as fits is quoted: 576 bytes in all (RFC 1812, 4.3.2.3), over IPv6 1280 (RFC 4443, 2.4 c). */
const QUOTE4_BYTES = 576 - ipv4.HEADER_LEN - icmp.HEADER_LEN
const QUOTE6_BYTES = 1280 - ipv6.HEADER_LEN - icmpv6.HEADER_LEN
/** The most room an answer takes, headroom not counted. */
export const ANSWER_BYTES = 1280
const ANSWER_TTL = 64
/** Internetwork control, as routers mark what they say themselves (RFC 1812, 4.3.2.5). */
const ANSWER_DSCP = 48

const CODES4: Record<Answer, readonly [type: number, code: number]> = {
  'time-exceeded': [icmp.TYPE_TIME_EXCEEDED, icmp.CODE_TTL_EXCEEDED_IN_TRANSIT],
  'no-route': [icmp.TYPE_DESTINATION_UNREACHABLE, icmp.CODE_NET_UNREACHABLE],
  'host-unreachable': [icmp.TYPE_DESTINATION_UNREACHABLE, icmp.CODE_HOST_UNREACHABLE],
  'too-big': [icmp.TYPE_DESTINATION_UNREACHABLE, icmp.CODE_FRAGMENTATION_NEEDED],
  refused: [icmp.TYPE_DESTINATION_UNREACHABLE, icmp.CODE_PORT_UNREACHABLE],
}

const CODES6: Record<Answer, readonly [type: number, code: number]> = {
  'time-exceeded': [icmpv6.TYPE_TIME_EXCEEDED, icmpv6.CODE_HOP_LIMIT_EXCEEDED],
  'no-route': [icmpv6.TYPE_DESTINATION_UNREACHABLE, icmpv6.CODE_NO_ROUTE],
  'host-unreachable': [icmpv6.TYPE_DESTINATION_UNREACHABLE, icmpv6.CODE_ADDRESS_UNREACHABLE],
  'too-big': [icmpv6.TYPE_PACKET_TOO_BIG, 0],
  refused: [icmpv6.TYPE_DESTINATION_UNREACHABLE, icmpv6.CODE_PORT_UNREACHABLE],
}

/** Whether a packet that was dropped for `reason` is answered at all. */
export function isAnswered(packet: Packet, reason: number, tables: Tables): boolean {
  if (DROP_REASONS[reason]!.answer === undefined || !mayBeAnswered(packet)) return false
  return (packet.family === 4 ? tables.gateway4 : tables.gateway6) !== undefined
}

/**
 * Writes the answer to `out.at`, of at most ANSWER_BYTES, and sets `out` to it. Only after isAnswered() said so. It
 * comes from the gateway; one `toHost`, which has that address itself and would take it for a forgery, from the node's
 * second address; that a port is closed is said by the address that was asked (RFC 1122, 3.2.2.1).
 */
export function answer(packet: Packet, reason: number, tables: Tables, out: Packet, toHost: boolean): void {
  const kind = DROP_REASONS[reason]!.answer!
  if (kind === 'refused' && packet.protocol === PROTOCOL_TCP && packet.l4 !== 0) {
    reset(packet, out)
    return
  }
  if (packet.family === 4) answer4(packet, kind, tables, (toHost ? tables.nat4 : tables.gateway4)!, out)
  else answer6(packet, kind, tables, (toHost ? tables.nat6 : tables.gateway6)!, out)
  out.family = packet.family
  out.tos = ANSWER_DSCP << 2
  out.l4 = 0
}

/** Guards have seen to it that source and destination are one host each. */
function mayBeAnswered(packet: Packet): boolean {
  if (packet.isFragment && packet.l4 === 0) return false
  if (packet.l4 === 0) return true
  if (packet.protocol === PROTOCOL_ICMP) return !icmp.isError(packet.view, packet.l4)
  if (packet.protocol !== PROTOCOL_ICMPV6) return true
  return !icmpv6.isError(packet.view, packet.l4) && icmpv6.type(packet.view, packet.l4) !== icmpv6.TYPE_REDIRECT
}

function answer4(packet: Packet, kind: Answer, tables: Tables, source: AddressWords, out: Packet): void {
  const { view } = packet
  const quoted = Math.min(packet.length, QUOTE4_BYTES)
  const message = out.at + ipv4.HEADER_LEN
  out.set(out.at, ipv4.HEADER_LEN + icmp.HEADER_LEN + quoted)
  packet.bytes.copyWithin(message + icmp.HEADER_LEN, packet.at, packet.at + quoted)

  ipv4.init(view, out.at)
  ipv4.setTypeOfService(view, out.at, ANSWER_DSCP << 2)
  ipv4.setTotalLength(view, out.at, out.length)
  ipv4.setTtl(view, out.at, ANSWER_TTL)
  ipv4.setProtocol(view, out.at, PROTOCOL_ICMP)
  ipv4.setSrcAddr(view, out.at, kind === 'refused' ? packet.dst3 : source[3])
  ipv4.setDstAddr(view, out.at, packet.src3)

  const [type, code] = CODES4[kind]
  icmp.init(view, message)
  icmp.setType(view, message, type)
  icmp.setCode(view, message, code)
  if (kind === 'too-big') icmp.setNextHopMtu(view, message, mtuBytes(route(packet, tables), tables))
  icmp.fillChecksum(view, message, out.end)
}

function answer6(packet: Packet, kind: Answer, tables: Tables, source: AddressWords, out: Packet): void {
  const { view } = packet
  const quoted = Math.min(packet.length, QUOTE6_BYTES)
  const message = out.at + ipv6.HEADER_LEN
  out.set(out.at, ipv6.HEADER_LEN + icmpv6.HEADER_LEN + quoted)
  packet.bytes.copyWithin(message + icmpv6.HEADER_LEN, packet.at, packet.at + quoted)

  ipv6.init(view, out.at)
  ipv6.setTrafficClass(view, out.at, ANSWER_DSCP << 2)
  ipv6.setPayloadLength(view, out.at, out.length - ipv6.HEADER_LEN)
  ipv6.setNextHeader(view, out.at, PROTOCOL_ICMPV6)
  ipv6.setHopLimit(view, out.at, ANSWER_TTL)
  const own = kind === 'refused'
  ipv6.setSrcAddrWord(view, out.at, 0, own ? packet.dst0 : source[0])
  ipv6.setSrcAddrWord(view, out.at, 1, own ? packet.dst1 : source[1])
  ipv6.setSrcAddrWord(view, out.at, 2, own ? packet.dst2 : source[2])
  ipv6.setSrcAddrWord(view, out.at, 3, own ? packet.dst3 : source[3])
  ipv6.setDstAddrWord(view, out.at, 0, packet.src0)
  ipv6.setDstAddrWord(view, out.at, 1, packet.src1)
  ipv6.setDstAddrWord(view, out.at, 2, packet.src2)
  ipv6.setDstAddrWord(view, out.at, 3, packet.src3)

  const [type, code] = CODES6[kind]
  icmpv6.init(view, message)
  icmpv6.setType(view, message, type)
  icmpv6.setCode(view, message, code)
  if (kind === 'too-big') icmpv6.setMtu(view, message, mtuBytes(route(packet, tables), tables))
  const pseudo = ipv6.pseudoHeader(view, out.at, PROTOCOL_ICMPV6, out.end - message)
  icmpv6.fillChecksum(view, message, out.end, pseudo)
}
