/**
 * One parse for each packet: from bytes to the fields of the slot. It answers 0, or the drop reason; after 0 every
 * field of the slot that is documented as valid is valid, and no later step checks a length again.
 *
 * `end` is pulled back to the length that the IP header tells: what a link adds behind it is not carried on.
 */

import * as icmp from '../formats/icmp.ts'
import * as icmpv6 from '../formats/icmpv6.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import * as protocols from '../formats/protocols.ts'
import * as sctp from '../formats/sctp.ts'
import * as tcp from '../formats/tcp.ts'
import * as udp from '../formats/udp.ts'
import type { Packet } from '../packet.ts'
import { DROP_BAD_HEADER_CHECKSUM, DROP_MALFORMED_IP, DROP_MALFORMED_TRANSPORT } from './drop-reason.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } = protocols
const UDP_HEADER_LEN = udp.HEADER_LEN
const IPV6_HEADER_LEN = ipv6.HEADER_LEN

const upper: ipv6.UpperLayer = ipv6.upperLayer()

export function parse(packet: Packet): number {
  if (packet.end <= packet.at) return DROP_MALFORMED_IP
  const version = packet.bytes[packet.at]! >>> 4
  if (version === 4) return parseIpv4(packet)
  if (version === 6) return parseIpv6(packet)
  return DROP_MALFORMED_IP
}

function parseIpv4(packet: Packet): number {
  const { view, at } = packet
  if (!ipv4.check(view, at, packet.end)) return DROP_MALFORMED_IP
  if (!ipv4.verifyChecksum(view, at)) return DROP_BAD_HEADER_CHECKSUM
  packet.end = at + ipv4.totalLength(view, at)
  packet.family = 4
  packet.src0 = packet.src1 = packet.dst0 = packet.dst1 = 0
  packet.src2 = packet.dst2 = 0xffff
  packet.src3 = ipv4.srcAddr(view, at)
  packet.dst3 = ipv4.dstAddr(view, at)
  packet.tos = ipv4.typeOfService(view, at)
  packet.ttl = ipv4.ttl(view, at)
  packet.isFragment = ipv4.isFragment(view, at)
  packet.fragmentId = ipv4.identification(view, at)
  return parseTransport(
    packet,
    ipv4.protocol(view, at),
    at + ipv4.headerLength(view, at),
    ipv4.fragmentOffset(view, at),
  )
}

function parseIpv6(packet: Packet): number {
  const { view, at } = packet
  if (!ipv6.check(view, at, packet.end)) return DROP_MALFORMED_IP
  packet.end = at + IPV6_HEADER_LEN + ipv6.payloadLength(view, at)
  if (!ipv6.walk(view, at, packet.end, upper)) return DROP_MALFORMED_IP
  packet.family = 6
  packet.src0 = ipv6.srcAddrWord(view, at, 0)
  packet.src1 = ipv6.srcAddrWord(view, at, 1)
  packet.src2 = ipv6.srcAddrWord(view, at, 2)
  packet.src3 = ipv6.srcAddrWord(view, at, 3)
  packet.dst0 = ipv6.dstAddrWord(view, at, 0)
  packet.dst1 = ipv6.dstAddrWord(view, at, 1)
  packet.dst2 = ipv6.dstAddrWord(view, at, 2)
  packet.dst3 = ipv6.dstAddrWord(view, at, 3)
  packet.tos = ipv6.trafficClass(view, at)
  packet.ttl = ipv6.hopLimit(view, at)
  packet.isFragment = upper.fragmentOffset !== 0 || upper.moreFragments
  packet.fragmentId = packet.isFragment ? ipv6.fragmentIdentification(view, upper.fragmentAt) : 0
  return parseTransport(packet, upper.protocol, upper.offset, upper.fragmentOffset)
}

/** A fragment after the first has no transport header; a protocol that we do not know is carried as it is. */
function parseTransport(packet: Packet, protocol: number, at: number, fragmentOffset: number): number {
  const { view, end } = packet
  packet.protocol = protocol
  packet.isTranslated = false
  packet.endpoint = 0
  packet.l4 = packet.ports = 0
  packet.payload = at
  packet.isFlowKey = fragmentOffset === 0
  if (!packet.isFlowKey) return 0
  switch (protocol) {
    case PROTOCOL_TCP:
      if (!tcp.check(view, at, end)) return DROP_MALFORMED_TRANSPORT
      packet.payload = at + tcp.headerLength(view, at)
      break
    case PROTOCOL_UDP:
      // The length field of a first fragment speaks of the whole datagram: only the header must be there.
      if (packet.isFragment ? !udp.checkFirstFragment(view, at, end) : !udp.check(view, at, end))
        return DROP_MALFORMED_TRANSPORT
      packet.payload = at + UDP_HEADER_LEN
      break
    case PROTOCOL_SCTP:
      if (!sctp.check(view, at, end)) return DROP_MALFORMED_TRANSPORT
      packet.payload = at + sctp.HEADER_LEN
      break
    case PROTOCOL_ICMP:
      if (packet.family !== 4 || !icmp.check(view, at, end)) return DROP_MALFORMED_TRANSPORT
      return parseMessage(packet, at, icmp.isEcho(view, at), icmp.TYPE_ECHO_REQUEST)
    case PROTOCOL_ICMPV6:
      if (packet.family !== 6 || !icmpv6.check(view, at, end)) return DROP_MALFORMED_TRANSPORT
      return parseMessage(packet, at, icmpv6.isEcho(view, at), icmpv6.TYPE_ECHO_REQUEST)
    default:
      return 0
  }
  packet.l4 = at
  packet.ports = view.getInt32(at)
  return 0
}

/** Type, identifier and sequence number of an echo stand in the same places in both versions of ICMP. */
function parseMessage(packet: Packet, at: number, isEcho: boolean, request: number): number {
  const { view } = packet
  packet.l4 = at
  packet.isFlowKey = isEcho
  if (isEcho) packet.ports = (icmp.identifier(view, at) << 16) | (icmp.type(view, at) === request ? 1 : 0)
  return 0
}
