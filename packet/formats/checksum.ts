/**
 * The Internet checksum: RFC 1071 (the sum), RFC 1624 (changing a field without summing again), RFC 8200 section 8.1
 * and RFC 9293 section 3.1 (the pseudo-header).
 *
 * A "sum" is the folded one's-complement sum of 16-bit big-endian words, 0..0xffff. A full checksum field holds the
 * complement of the sum over everything it covers. A partial one (checksum offload: somebody later on the way finishes
 * it) holds the sum of the pseudo-header alone, *not* complemented. So a change of an address moves the two in opposite
 * directions, and a change of a port moves only the full one: a partial one does not contain ports yet.
 *
 *   full     field = ~(pseudo-header + header + payload)     adjustHalf,        adjustWord
 *   partial  field =   pseudo-header                         adjustHalfPartial, adjustWordPartial
 *
 * One's complement has two zeros. A sum of bytes that are not all zero never folds to 0x0000, and here it never is all
 * zero (a version, a protocol number): that is why an adjusted checksum equals the recomputed one bit for bit.
 *
 * Does not know which fields a protocol covers (its own file does), nor CRC32c (sctp.ts).
 */

/** Folds a sum of up to 2^32 - 1 to 16 bits with end-around carry. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16)
  return (once & 0xffff) + (once >>> 16)
}

/** What a checksum field holds for this sum. */
export function complement(sum: number): number {
  return ~fold(sum) & 0xffff
}

/**
 * The sum of the bytes from `at` to `end` (at most 128 KiB, any alignment); a last odd byte counts as if a zero byte
 * followed. Sums of consecutive ranges may be added and folded as long as each but the last has even length.
 */
export function sum(view: DataView, at: number, end: number): number {
  // Two halves a load: both accumulators stay 32-bit integers up to 128 KiB, so nothing becomes a heap number.
  let high = 0
  let low = 0
  let i = at
  for (; i + 4 <= end; i += 4) {
    const word = view.getInt32(i)
    high += word >>> 16
    low += word & 0xffff
  }
  if (i + 2 <= end) {
    high += view.getUint16(i)
    i += 2
  }
  if (i < end) low += view.getUint8(i) << 8
  return fold(fold(high) + fold(low))
}

/**
 * The sum of the pseudo-header of either family. Both addresses stand side by side from `addressesAt` to
 * `addressesEnd`; the zero padding between protocol and length differs, the sum does not.
 * `lengthBytes`: transport header and payload, below 64 KiB.
 */
export function pseudoHeader(
  view: DataView,
  addressesAt: number,
  addressesEnd: number,
  protocol: number,
  lengthBytes: number,
): number {
  return fold(sum(view, addressesAt, addressesEnd) + protocol + lengthBytes)
}

/** RFC 1624 equation 3: the checksum after a 16-bit field went from `old16` to `new16`. */
export function adjustHalf(checksum: number, old16: number, new16: number): number {
  return complement((~checksum & 0xffff) + (~old16 & 0xffff) + new16)
}

/** The same for a 32-bit field at an even distance from the start of what is summed; signed or unsigned. */
export function adjustWord(checksum: number, old32: number, new32: number): number {
  return complement((~checksum & 0xffff) + (~old32 >>> 16) + (~old32 & 0xffff) + (new32 >>> 16) + (new32 & 0xffff))
}

/** A partial checksum after a 16-bit field of the pseudo-header (the length) changed. */
export function adjustHalfPartial(sum: number, old16: number, new16: number): number {
  return fold(sum + (~old16 & 0xffff) + new16)
}

/** A partial checksum after a word of an address changed. */
export function adjustWordPartial(sum: number, old32: number, new32: number): number {
  return fold(sum + (~old32 >>> 16) + (~old32 & 0xffff) + (new32 >>> 16) + (new32 & 0xffff))
}

/** Writes a 16-bit field and takes the full checksum at `checksumAt` along. */
export function replaceHalf(view: DataView, fieldAt: number, checksumAt: number, new16: number): void {
  view.setUint16(checksumAt, adjustHalf(view.getUint16(checksumAt), view.getUint16(fieldAt), new16))
  view.setUint16(fieldAt, new16)
}

/** Writes a 32-bit field and takes the full checksum at `checksumAt` along. */
export function replaceWord(view: DataView, fieldAt: number, checksumAt: number, new32: number): void {
  view.setUint16(checksumAt, adjustWord(view.getUint16(checksumAt), view.getInt32(fieldAt), new32))
  view.setInt32(fieldAt, new32)
}
