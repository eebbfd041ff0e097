/**
 * The SCTP common header and the head of the first chunk: RFC 9260 sections 3.1, 3.2 and appendix A (CRC32c).
 *
 *      0               1               2               3
 *    ┌───────────────────────────────┬───────────────────────────────┐
 *  0 │          source port          │        destination port       │
 *    ├───────────────────────────────┴───────────────────────────────┤
 *  4 │                        verification tag                       │
 *    ├───────────────────────────────────────────────────────────────┤
 *  8 │        checksum (CRC32c, least significant byte first)        │
 *    ├───────────────┬───────────────┬───────────────────────────────┤
 * 12 │   chunk type  │  chunk flags  │          chunk length         │
 *    └───────────────┴───────────────┴───────────────────────────────┘
 *
 * After check() no accessor can fail. The checksum is a CRC over the whole packet with the field taken as zero and no
 * pseudo-header: a new address leaves it right, a new port makes it wrong until fillChecksum(). There is no incremental
 * form. Chunks after the first are not read, and an address inside an INIT chunk is left as it is.
 */
const SRC_PORT = 0
const DST_PORT = 2
const VERIFICATION_TAG = 4
const CHECKSUM = 8
const CHUNK_TYPE = 12
const CHUNK_FLAGS = 13
const CHUNK_LENGTH = 14

/** The common header; a chunk's own takes four bytes more. */
export const HEADER_LEN = 12
export const CHUNK_HEADER_LEN = 4

export const CHUNK_DATA = 0
export const CHUNK_INIT = 1
export const CHUNK_INIT_ACK = 2
export const CHUNK_ABORT = 6
export const CHUNK_SHUTDOWN = 7
export const CHUNK_SHUTDOWN_ACK = 8
export const CHUNK_COOKIE_ECHO = 10
export const CHUNK_COOKIE_ACK = 11
export const CHUNK_SHUTDOWN_COMPLETE = 14

/** A whole common header and a first chunk's; the chunk itself may end in another fragment. */
export function check(view: DataView, at: number, end: number): boolean {
  return end - at >= HEADER_LEN + CHUNK_HEADER_LEN && chunkLength(view, at) >= CHUNK_HEADER_LEN
}

export function srcPort(view: DataView, at: number): number {
  return view.getUint16(at + SRC_PORT)
}

export function dstPort(view: DataView, at: number): number {
  return view.getUint16(at + DST_PORT)
}

/** A signed word. */
export function verificationTag(view: DataView, at: number): number {
  return view.getInt32(at + VERIFICATION_TAG)
}

/** A signed word. */
export function checksum(view: DataView, at: number): number {
  return view.getInt32(at + CHECKSUM, true)
}

/** Of the first chunk, as the two below. */
export function chunkType(view: DataView, at: number): number {
  return view.getUint8(at + CHUNK_TYPE)
}

export function chunkFlags(view: DataView, at: number): number {
  return view.getUint8(at + CHUNK_FLAGS)
}

/** In bytes, the chunk's own header included. */
export function chunkLength(view: DataView, at: number): number {
  return view.getUint16(at + CHUNK_LENGTH)
}

/** Makes the checksum wrong: fillChecksum() after it. */
export function setSrcPort(view: DataView, at: number, port: number): void {
  view.setUint16(at + SRC_PORT, port)
}

/** Makes the checksum wrong: fillChecksum() after it. */
export function setDstPort(view: DataView, at: number, port: number): void {
  view.setUint16(at + DST_PORT, port)
}

/** Over the whole packet, from `at` to `end`. */
export function verifyChecksum(view: DataView, at: number, end: number): boolean {
  return checksum(view, at) === crc32c(view, at, end)
}

export function fillChecksum(view: DataView, at: number, end: number): void {
  view.setInt32(at + CHECKSUM, crc32c(view, at, end), true)
}

/** The Castagnoli polynomial 0x1edc6f41, bit-reversed as the CRC shifts right. */
const POLYNOMIAL = 0x82f63b78 | 0

/** What each value of a byte does to the CRC. */
const CRC_OF_BYTE = new Int32Array(256).map((_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0)
  return crc
})

function crc32c(view: DataView, at: number, end: number): number {
  let crc = crcUpdate(view, at, at + CHECKSUM, -1)
  for (let i = 0; i < 4; i++) crc = (crc >>> 8) ^ CRC_OF_BYTE[crc & 0xff]!
  return ~crcUpdate(view, at + HEADER_LEN, end, crc)
}

function crcUpdate(view: DataView, at: number, end: number, start: number): number {
  let crc = start
  for (let i = at; i < end; i++) crc = (crc >>> 8) ^ CRC_OF_BYTE[(crc ^ view.getUint8(i)) & 0xff]!
  return crc
}

/** The common header and the first chunk's; tag and checksum unsigned. */
export interface Fields {
  srcPort: number
  dstPort: number
  verificationTag: number
  checksum: number
  chunkType: number
  chunkFlags: number
  chunkLength: number
}

export function read(view: DataView, at: number): Fields {
  return {
    srcPort: srcPort(view, at),
    dstPort: dstPort(view, at),
    verificationTag: verificationTag(view, at) >>> 0,
    checksum: checksum(view, at) >>> 0,
    chunkType: chunkType(view, at),
    chunkFlags: chunkFlags(view, at),
    chunkLength: chunkLength(view, at),
  }
}

/** Writes every field as it is given, the checksum too. */
export function write(view: DataView, at: number, fields: Fields): void {
  setSrcPort(view, at, fields.srcPort)
  setDstPort(view, at, fields.dstPort)
  view.setUint32(at + VERIFICATION_TAG, fields.verificationTag)
  view.setUint32(at + CHECKSUM, fields.checksum, true)
  view.setUint8(at + CHUNK_TYPE, fields.chunkType)
  view.setUint8(at + CHUNK_FLAGS, fields.chunkFlags)
  view.setUint16(at + CHUNK_LENGTH, fields.chunkLength)
}
