/**
 * Who has this address? The overlay is an Ethernet, and a kernel VXLAN device as the peer asks before it sends: by ARP
 * (RFC 826) for IPv4, by neighbour solicitation (RFC 4861) for IPv6. The node answers for its own address in the pod
 * network, the gateway that a kernel peer routes through. polders know each other from the cluster and never ask.
 *
 * The packet is the inner frame's payload, its Ethernet header before it.
 */
import * as arp from '../formats/arp.ts'
import * as ethernet from '../formats/ethernet.ts'
import * as icmpv6 from '../formats/icmpv6.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_ICMPV6 } from '../formats/protocols.ts'
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { etherType, ETHERTYPE_ARP, ETHERTYPE_IPV6, HEADER_LEN } = ethernet
const { check: checkIpv6, nextHeader, HEADER_LEN: IPV6_HEADER_LEN } = ipv6
const ICMPV6 = PROTOCOL_ICMPV6

/** Neighbour messages after their first word: flags or nothing (4), the target (16), options. */
const TARGET = 8
const SOLICITATION_BYTES = TARGET + 16
const ADVERTISEMENT_BYTES = SOLICITATION_BYTES + 8
const ADVERTISEMENT_FLAGS = 0xe0000000 // router, solicited, override
const OPTION_TARGET_ADDRESS = 0x0201 // type 2, one unit of 8 bytes
/** Proves that the message was forwarded by nobody (RFC 4861, 7.1.1). */
const NEIGHBOUR_HOP_LIMIT = 255
export const NEIGHBOUR_ANSWER_BYTES = ipv6.HEADER_LEN + ADVERTISEMENT_BYTES

export function asksForUs(packet: Packet, tables: Tables): boolean {
  const type = etherType(packet.view, packet.at - HEADER_LEN)
  if (type === ETHERTYPE_ARP) return asksByArp(packet, tables)
  return type === ETHERTYPE_IPV6 && asksBySolicitation(packet, tables)
}

function asksByArp({ view, at, end }: Packet, { gateway4 }: Tables): boolean {
  return (
    gateway4 !== undefined &&
    arp.check(view, at, end) &&
    arp.operation(view, at) === arp.OPERATION_REQUEST &&
    arp.targetProtocolAddr(view, at) === gateway4[3]
  )
}

const asksBySolicitation = ({ view, at, end }: Packet, { gateway6 }: Tables): boolean => {
  const message = at + IPV6_HEADER_LEN
  // All that most packets need: the answer is no.
  if (gateway6 === undefined || end - at < IPV6_HEADER_LEN || nextHeader(view, at) !== ICMPV6) return false
  if (!checkIpv6(view, at, end) || ipv6.hopLimit(view, at) !== NEIGHBOUR_HOP_LIMIT) return false
  const length = ipv6.payloadLength(view, at)
  if (length < SOLICITATION_BYTES || icmpv6.type(view, message) !== icmpv6.TYPE_NEIGHBOR_SOLICITATION) return false
  const pseudoHeader = ipv6.pseudoHeader(view, at, PROTOCOL_ICMPV6, length)
  if (!icmpv6.verifyChecksum(view, message, message + length, pseudoHeader)) return false
  // From the unspecified address somebody asks whether the address is still free: it is ours, but nobody to tell.
  if (ipv6.srcAddrWord(view, at, 0) === 0) return false
  for (let i = 0; i < 4; i++) if (view.getInt32(message + TARGET + i * 4) !== gateway6[i]) return false
  return true
}

/** Writes the answer to a question that asksForUs() found to `out.at`, without its Ethernet header. */
export function answerNeighbour(packet: Packet, tables: Tables, out: Packet): void {
  const type = ethernet.etherType(packet.view, packet.at - ethernet.HEADER_LEN)
  if (type === ethernet.ETHERTYPE_ARP) answerArp(packet, tables, out)
  else answerSolicitation(packet, tables, out)
  out.l4 = 0
  out.tos = 0
}

function answerArp({ view, at }: Packet, tables: Tables, out: Packet): void {
  out.set(out.at, arp.HEADER_LEN)
  out.family = 0
  arp.init(view, out.at)
  arp.setOperation(view, out.at, arp.OPERATION_REPLY)
  arp.setSenderHardwareAddr(view, out.at, tables.macHigh, tables.macLow)
  arp.setSenderProtocolAddr(view, out.at, tables.gateway4![3])
  const low = arp.senderHardwareAddrLow(view, at)
  arp.setTargetHardwareAddr(view, out.at, arp.senderHardwareAddrHigh(view, at), low)
  arp.setTargetProtocolAddr(view, out.at, arp.senderProtocolAddr(view, at))
}

function answerSolicitation({ view, at }: Packet, tables: Tables, out: Packet): void {
  const message = out.at + ipv6.HEADER_LEN
  out.set(out.at, NEIGHBOUR_ANSWER_BYTES)
  out.family = 6
  ipv6.init(view, out.at)
  ipv6.setPayloadLength(view, out.at, ADVERTISEMENT_BYTES)
  ipv6.setNextHeader(view, out.at, PROTOCOL_ICMPV6)
  ipv6.setHopLimit(view, out.at, NEIGHBOUR_HOP_LIMIT)
  for (let i = 0; i < 4; i++) {
    ipv6.setSrcAddrWord(view, out.at, i, tables.gateway6![i]!)
    ipv6.setDstAddrWord(view, out.at, i, ipv6.srcAddrWord(view, at, i))
    view.setInt32(message + TARGET + i * 4, tables.gateway6![i]!)
  }
  icmpv6.init(view, message)
  icmpv6.setType(view, message, icmpv6.TYPE_NEIGHBOR_ADVERTISEMENT)
  view.setUint32(message + 4, ADVERTISEMENT_FLAGS)
  view.setUint16(message + SOLICITATION_BYTES, OPTION_TARGET_ADDRESS)
  view.setUint16(message + SOLICITATION_BYTES + 2, tables.macHigh)
  view.setInt32(message + SOLICITATION_BYTES + 4, tables.macLow)
  const pseudoHeader = ipv6.pseudoHeader(view, out.at, PROTOCOL_ICMPV6, ADVERTISEMENT_BYTES)
  icmpv6.fillChecksum(view, message, out.end, pseudoHeader)
}
