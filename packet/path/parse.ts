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
const IPV4_HEADER_LEN = ipv4.HEADER_LEN
const IPV6_HEADER_LEN = ipv6.HEADER_LEN
const { areSound, areWhole, isPlain, verifyChecksum, srcAddr, dstAddr } = ipv4
const { headerLengthOf, totalLengthOf, typeOfServiceOf, identificationOf, isFragmentOf } = ipv4
const { fragmentOffsetOf, ttlOf, protocolOf } = ipv4
const { areWhole: areWhole6, isExtension, walk, srcAddrWord, dstAddrWord } = ipv6
const { payloadLengthOf, trafficClassOf, nextHeaderOf, hopLimitOf } = ipv6
const { check: checkTcp, headerLength: tcpHeaderLength } = tcp
const { check: checkUdp } = udp

const upper: ipv6.UpperLayer = ipv6.upperLayer()

export function parse(packet: Packet): number {
  if (packet.end <= packet.at) return DROP_MALFORMED_IP
  const version = packet.bytes[packet.at]! >>> 4
  if (version === 4) return parseIpv4(packet)
  if (version === 6) return parseIpv6(packet)
  return DROP_MALFORMED_IP
}

const parseIpv4 = (packet: Packet): number => {
  const { view, at } = packet
  const roomBytes = packet.end - at
  if (roomBytes < IPV4_HEADER_LEN) return DROP_MALFORMED_IP
  const first = view.getInt32(at)
  const second = view.getInt32(at + 4)
  const third = view.getInt32(at + 8)
  const src = srcAddr(view, at)
  const dst = dstAddr(view, at)
  if (!areWhole(first, second, roomBytes)) return DROP_MALFORMED_IP
  const sound = isPlain(first) ? areSound(first, second, third, src, dst) : verifyChecksum(view, at)
  if (!sound) return DROP_BAD_HEADER_CHECKSUM
  packet.end = at + totalLengthOf(first)
  packet.family = 4
  packet.src0 = packet.src1 = packet.dst0 = packet.dst1 = 0
  packet.src2 = packet.dst2 = 0xffff
  packet.src3 = src
  packet.dst3 = dst
  packet.tos = typeOfServiceOf(first)
  packet.ttl = ttlOf(third)
  packet.isFragment = isFragmentOf(second)
  packet.fragmentId = identificationOf(second)
  return parseTransport(packet, protocolOf(third), at + headerLengthOf(first), fragmentOffsetOf(second))
}

const parseIpv6 = (packet: Packet): number => {
  const { view, at } = packet
  const roomBytes = packet.end - at
  if (roomBytes < IPV6_HEADER_LEN) return DROP_MALFORMED_IP
  const first = view.getInt32(at)
  const second = view.getInt32(at + 4)
  if (!areWhole6(first, second, roomBytes)) return DROP_MALFORMED_IP
  packet.end = at + IPV6_HEADER_LEN + payloadLengthOf(second)
  packet.family = 6
  packet.src0 = srcAddrWord(view, at, 0)
  packet.src1 = srcAddrWord(view, at, 1)
  packet.src2 = srcAddrWord(view, at, 2)
  packet.src3 = srcAddrWord(view, at, 3)
  packet.dst0 = dstAddrWord(view, at, 0)
  packet.dst1 = dstAddrWord(view, at, 1)
  packet.dst2 = dstAddrWord(view, at, 2)
  packet.dst3 = dstAddrWord(view, at, 3)
  packet.tos = trafficClassOf(first)
  packet.ttl = hopLimitOf(second)
  packet.isFragment = false
  packet.fragmentId = 0
  const next = nextHeaderOf(second)
  if (!isExtension(next)) return parseTransport(packet, next, at + IPV6_HEADER_LEN, 0)
  if (!walk(view, at, packet.end, upper)) return DROP_MALFORMED_IP
  packet.isFragment = upper.fragmentOffset !== 0 || upper.moreFragments
  if (packet.isFragment) packet.fragmentId = ipv6.fragmentIdentification(view, upper.fragmentAt)
  return parseTransport(packet, upper.protocol, upper.offset, upper.fragmentOffset)
}

/** A fragment after the first has no transport header; a protocol that we do not know is carried as it is. */
const parseTransport = (packet: Packet, protocol: number, at: number, offset: number): number => {
  const { view, end } = packet
  packet.protocol = protocol
  packet.isTranslated = false
  packet.endpoint = 0
  packet.l4 = packet.ports = 0
  packet.payload = at
  packet.isFlowKey = offset === 0
  if (!packet.isFlowKey) return 0
  switch (protocol) {
    case PROTOCOL_TCP:
      if (!checkTcp(view, at, end)) return DROP_MALFORMED_TRANSPORT
      packet.payload = at + tcpHeaderLength(view, at)
      break
    case PROTOCOL_UDP:
      // The length field of a first fragment speaks of the whole datagram: only the header must be there.
      if (packet.isFragment ? !udp.checkFirstFragment(view, at, end) : !checkUdp(view, at, end))
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
