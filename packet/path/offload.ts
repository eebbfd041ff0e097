/**
 * Offload state: what a device left to be done to a packet. A pod that may open packet sockets writes it itself, so it is
 * believed only where it can be meant: a checksum is put in where the transport has its field, or behind the headers
 * that were judged, never over an address or a port; and a super-packet is of the kind that its headers say.
 *
 * A kernel VXLAN device hands its offload state to the wire where it trusts that nobody will look: on a veth, inner
 * checksums stay partial and inner TCP super-packets stay whole, and nothing in the datagram says so. Here both are
 * found out and put into the slot, as if a device had told.
 *
 * Only for peers that are no polder: those send every checksum full and every segment cut.
 */
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../formats/protocols.ts'
import * as tcp from '../formats/tcp.ts'
import * as udp from '../formats/udp.ts'
import * as slot from '../packet.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { CHECKSUM_PARTIAL, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } = slot
type Packet = slot.Packet

const TCP_CHECKSUM_OFFSET = 16
const UDP_CHECKSUM_OFFSET = 6

/** A super-packet of 64 KB in the smallest segments that a TCP makes (of 48 bytes). More would be work for nothing. */
const SEGMENTS_MAX = 1400

/** Whether what the device left to be done can be done to this packet; ask after parse(). */
export function contradictsOffload(packet: Packet): boolean {
  if (packet.checksum === CHECKSUM_PARTIAL && !mayPutChecksum(packet)) return true
  return packet.gsoType !== GSO_NONE && !maySegment(packet)
}

/** In the transport's own field, or in what nobody on the way looks at. */
const mayPutChecksum = ({ at, end, l4, payload, protocol, checksumStart, checksumOffset }: Packet): boolean => {
  const field = at + checksumStart + checksumOffset
  if (field >= payload) return field + 2 <= end
  if (l4 === 0 || at + checksumStart !== l4) return false
  if (protocol === PROTOCOL_TCP) return checksumOffset === TCP_CHECKSUM_OFFSET
  return protocol === PROTOCOL_UDP && checksumOffset === UDP_CHECKSUM_OFFSET
}

const maySegment = ({ family, gsoType, gsoSizeBytes, l4, payload, end, isFragment, protocol }: Packet): boolean => {
  if (l4 === 0 || isFragment || gsoSizeBytes === 0 || end - payload > gsoSizeBytes * SEGMENTS_MAX) return false
  const kind = gsoType & ~GSO_ECN
  if (protocol === PROTOCOL_UDP) return kind === GSO_UDP_L4
  return protocol === PROTOCOL_TCP && kind === (family === 4 ? GSO_TCPV4 : GSO_TCPV6)
}

export function recoverOffload(packet: Packet, mtuBytes: number): void {
  const { view, at, l4, end, protocol } = packet
  if (l4 === 0 || packet.isFragment || (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP)) return
  const isTcp = protocol === PROTOCOL_TCP
  const pseudoHeader = (packet.family === 4 ? ipv4 : ipv6).pseudoHeader(view, at, protocol, end - l4)
  const format = isTcp ? tcp : udp
  // One full checksum in 65,535 looks partial too, so that one is asked first.
  if (!format.hasPartialChecksum(view, l4, pseudoHeader) || format.verifyChecksum(view, l4, end, pseudoHeader)) return
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = l4 - at
  packet.checksumOffset = isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET
  if (!isTcp || packet.length <= mtuBytes) return
  packet.gsoType = packet.family === 4 ? GSO_TCPV4 : GSO_TCPV6
  packet.gsoSizeBytes = mtuBytes - (packet.payload - at)
}
