/**
 * Segmentation as one would explain it: a super-packet's payload cut into pieces, each with the header and what counts
 * up in it. Slow, obvious, and the judge of the addon's.
 */
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_TCP } from '../../packet/formats/protocols.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import * as udp from '../../packet/formats/udp.ts'

export function segmentNaively(whole: Uint8Array, gsoSizeBytes: number): Uint8Array[] {
  const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength)
  const v4 = whole[0]! >> 4 === 4
  const l4 = v4 ? ipv4.headerLength(view, 0) : ipv6.HEADER_LEN
  const protocol = v4 ? ipv4.protocol(view, 0) : ipv6.nextHeader(view, 0)
  const header = l4 + (protocol === PROTOCOL_TCP ? tcp.headerLength(view, l4) : udp.HEADER_LEN)
  const payload = whole.subarray(header)
  const count = Math.max(1, Math.ceil(payload.length / gsoSizeBytes))
  return Array.from({ length: count }, (_, i) => {
    const piece = payload.subarray(i * gsoSizeBytes, (i + 1) * gsoSizeBytes)
    const segment = new Uint8Array([...whole.subarray(0, header), ...piece])
    finish(segment, { l4, protocol, first: i === 0, last: i === count - 1, index: i, offset: i * gsoSizeBytes })
    return segment
  })
}

interface Place {
  l4: number
  protocol: number
  first: boolean
  last: boolean
  index: number
  offset: number
}

function finish(segment: Uint8Array, { l4, protocol, first, last, index, offset }: Place): void {
  const view = new DataView(segment.buffer)
  const v4 = segment[0]! >> 4 === 4
  if (v4) {
    ipv4.setTotalLength(view, 0, segment.length)
    ipv4.setIdentification(view, 0, (ipv4.identification(view, 0) + index) & 0xffff)
    ipv4.fillChecksum(view, 0)
  } else {
    ipv6.setPayloadLength(view, 0, segment.length - ipv6.HEADER_LEN)
  }
  const pseudo = (v4 ? ipv4 : ipv6).pseudoHeader(view, 0, protocol, segment.length - l4)
  if (protocol !== PROTOCOL_TCP) {
    udp.setLength(view, l4, segment.length - l4)
    udp.fillChecksum(view, l4, segment.length, pseudo)
    return
  }
  const fields = tcp.read(view, l4)
  const lastOnly = last ? 0 : tcp.FLAG_FIN | tcp.FLAG_PSH
  const firstOnly = first ? 0 : tcp.FLAG_CWR
  tcp.write(view, l4, {
    ...fields,
    sequenceNumber: (fields.sequenceNumber + offset) >>> 0,
    flags: fields.flags & ~(lastOnly | firstOnly),
  })
  tcp.fillChecksum(view, l4, segment.length, pseudo)
}
