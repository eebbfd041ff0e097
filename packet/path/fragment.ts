/**
 * IPv4 fragmentation (RFC 791, 3.2): one packet into pieces that fit, each with a copy of the headers. A fragment may
 * be cut again. Options without the copied flag stand in the first piece only.
 *
 * The transport checksum covers the whole, so a partial one is finished before the first cut.
 */
import * as internet from '../formats/checksum.ts'
import * as ipv4 from '../formats/ipv4.ts'
import { CHECKSUM_FULL, CHECKSUM_PARTIAL, HEADROOM_BYTES, type Packet } from '../packet.ts'

const OPTION_END = 0
const OPTION_NO_OPERATION = 1
const OPTION_COPIED = 0x80

/** An upper bound for the bytes that all pieces of `packet` need, with their headroom. */
export function fragmentsBytes(packet: Packet): number {
  const perPiece = Math.max(8, packet.fragmentBytes - ipv4.headerLength(packet.view, packet.at) - 7)
  return packet.length + Math.ceil(packet.length / perPiece) * (60 + HEADROOM_BYTES + 16)
}

/** What there is to cut: everything behind the IP header. */
export function ipPayloadBytes(packet: Packet): number {
  return packet.length - ipv4.headerLength(packet.view, packet.at)
}

/** Puts the transport checksum in its place. */
export function finishChecksum(packet: Packet): void {
  if (packet.checksum !== CHECKSUM_PARTIAL) return
  const start = packet.at + packet.checksumStart
  const sum = internet.complement(internet.sum(packet.view, start, packet.end))
  packet.view.setUint16(start + packet.checksumOffset, sum || 0xffff)
  packet.checksum = CHECKSUM_FULL
}

/**
 * Writes the piece that begins `done` bytes into the payload to `out.at`, its headroom before it, and sets `out` to it.
 * Answers how many bytes of the payload are done then; the caller goes on until that is all of them.
 */
export function cut(packet: Packet, done: number, out: Packet): number {
  const { view, bytes, at } = packet
  const header = ipv4.headerLength(view, at)
  const payload = ipPayloadBytes(packet)
  bytes.copyWithin(out.at - HEADROOM_BYTES, at - HEADROOM_BYTES, at + header)
  const outHeader = done === 0 ? header : keepCopiedOptions(out, header)
  const room = (packet.fragmentBytes - outHeader) & ~7
  const size = Math.min(room, payload - done)
  const last = done + size === payload
  bytes.copyWithin(out.at + outHeader, at + header + done, at + header + done + size)

  out.set(out.at, outHeader + size)
  copyFlow(packet, out)
  ipv4.setTotalLength(out.view, out.at, outHeader + size)
  ipv4.setFragmentOffset(out.view, out.at, ipv4.fragmentOffset(view, at) + (done >> 3))
  if (!last) ipv4.setFlags(out.view, out.at, ipv4.flags(view, at) | ipv4.FLAG_MORE_FRAGMENTS)
  ipv4.fillChecksum(out.view, out.at)
  return done + size
}

/** Addresses, protocol and TOS, which choose the way of every piece; a fragment's transport is not looked at. */
function copyFlow(packet: Packet, out: Packet): void {
  out.family = packet.family
  out.src3 = packet.src3
  out.dst3 = packet.dst3
  out.src2 = out.dst2 = packet.src2
  out.src0 = out.src1 = out.dst0 = out.dst1 = 0
  out.protocol = packet.protocol
  out.tos = packet.tos
  out.outerTos = packet.outerTos
  out.isFragment = true
  out.l4 = 0
}

/** Leaves only the options that every fragment carries; answers the new header length. */
function keepCopiedOptions(out: Packet, header: number): number {
  const { bytes, at } = out
  let to = ipv4.HEADER_LEN
  for (let from = ipv4.HEADER_LEN; from < header; ) {
    const option = bytes[at + from]!
    if (option === OPTION_END) break
    const length = option === OPTION_NO_OPERATION ? 1 : Math.max(2, bytes[at + from + 1]!)
    if (from + length > header) break
    if (option & OPTION_COPIED) {
      bytes.copyWithin(at + to, at + from, at + from + length)
      to += length
    }
    from += length
  }
  while (to % 4 !== 0) bytes[at + to++] = OPTION_END
  bytes[at] = 0x40 | (to >> 2)
  return to
}
