/**
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
import { CHECKSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, type Packet } from '../packet.ts'

const TCP_CHECKSUM_OFFSET = 16
const UDP_CHECKSUM_OFFSET = 6

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
