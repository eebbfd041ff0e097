/**
 * The TCP header: RFC 9293 section 3.1; ECE and CWR by RFC 3168.
 *
 *      0               1               2               3
 *    ┌───────────────────────────────┬───────────────────────────────┐
 *  0 │          source port          │        destination port       │
 *    ├───────────────────────────────┴───────────────────────────────┤
 *  4 │                        sequence number                        │
 *    ├───────────────────────────────────────────────────────────────┤
 *  8 │                     acknowledgment number                     │
 *    ├───────┬───────┬───────────────┬───────────────────────────────┤
 * 12 │ offset│  rsvd │ flags CEUAPRSF│             window            │
 *    ├───────┴───────┴───────────────┼───────────────────────────────┤
 * 16 │            checksum           │         urgent pointer        │
 *    ├───────────────────────────────┴───────────────────────────────┤
 * 20 │    options, up to 40 bytes (offset counts words of 4 bytes)   │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail. Sequence numbers are signed words: `(a - b) | 0` compares them, `>>> 0` shows them.
 * Setters take a full checksum along. Where the checksum is partial (checksum.ts), ports have a setter of their own and
 * an address is told to adjustChecksumPartial().
 * Options are carried; the window scale alone is read, for the flow table, which also judges what flags mean together.
 */
import * as internet from './checksum.ts'

const SRC_PORT = 0
const DST_PORT = 2
const SEQUENCE_NUMBER = 4
const ACKNOWLEDGMENT_NUMBER = 8
const DATA_OFFSET = 12
const FLAGS = 13
const WINDOW = 14
const CHECKSUM = 16
const URGENT_POINTER = 18

const MIN_HEADER_LEN = 20
/** Without options. */
export const HEADER_LEN = MIN_HEADER_LEN

export const FLAG_FIN = 0x01
export const FLAG_SYN = 0x02
export const FLAG_RST = 0x04
export const FLAG_PSH = 0x08
export const FLAG_ACK = 0x10
export const FLAG_URG = 0x20
export const FLAG_ECE = 0x40
export const FLAG_CWR = 0x80

export function check(view: DataView, at: number, end: number): boolean {
  if (end - at < MIN_HEADER_LEN) return false
  const header = (view.getUint8(at + DATA_OFFSET) >> 4) << 2
  return header >= MIN_HEADER_LEN && header <= end - at
}

export function srcPort(view: DataView, at: number): number {
  return view.getUint16(at + SRC_PORT)
}

export function dstPort(view: DataView, at: number): number {
  return view.getUint16(at + DST_PORT)
}

export function sequenceNumber(view: DataView, at: number): number {
  return view.getInt32(at + SEQUENCE_NUMBER)
}

export function acknowledgmentNumber(view: DataView, at: number): number {
  return view.getInt32(at + ACKNOWLEDGMENT_NUMBER)
}

/** The data offset, in bytes. */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + DATA_OFFSET) >> 4) << 2
}

export function reserved(view: DataView, at: number): number {
  return view.getUint8(at + DATA_OFFSET) & 0xf
}

export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS)
}

/** As it stands in the header, not scaled. */
export function window(view: DataView, at: number): number {
  return view.getUint16(at + WINDOW)
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function urgentPointer(view: DataView, at: number): number {
  return view.getUint16(at + URGENT_POINTER)
}

const OPTION_END = 0
const OPTION_NO_OPERATION = 1
const OPTION_WINDOW_SCALE = 3
/** RFC 7323, 2.3: more is taken for this. */
const MAX_WINDOW_SCALE = 14

/** The shift that a SYN offers for windows (RFC 7323, 2.2); -1 where it offers none. */
export function windowScale(view: DataView, at: number): number {
  const end = at + headerLength(view, at)
  for (let option = at + HEADER_LEN; option + 1 < end; ) {
    const kind = view.getUint8(option)
    if (kind === OPTION_END) return -1
    const length = kind === OPTION_NO_OPERATION ? 1 : view.getUint8(option + 1)
    if (length === 0 || option + length > end) return -1
    if (kind === OPTION_WINDOW_SCALE && length === 3) return Math.min(view.getUint8(option + 2), MAX_WINDOW_SCALE)
    option += length
  }
  return -1
}

/** An empty header of 20 bytes. To build a segment: init, the setters, the payload, then fillChecksum. */
export function init(view: DataView, at: number): void {
  for (let i = 0; i < HEADER_LEN; i += 4) view.setInt32(at + i, 0)
  view.setUint8(at + DATA_OFFSET, (HEADER_LEN >> 2) << 4)
}

export function setSrcPort(view: DataView, at: number, port: number): void {
  internet.replaceHalf(view, at + SRC_PORT, at + CHECKSUM, port)
}

export function setDstPort(view: DataView, at: number, port: number): void {
  internet.replaceHalf(view, at + DST_PORT, at + CHECKSUM, port)
}

/** A partial checksum holds no ports yet, so it stays. */
export function setSrcPortPartial(view: DataView, at: number, port: number): void {
  view.setUint16(at + SRC_PORT, port)
}

export function setDstPortPartial(view: DataView, at: number, port: number): void {
  view.setUint16(at + DST_PORT, port)
}

export function setSequenceNumber(view: DataView, at: number, word: number): void {
  internet.replaceWord(view, at + SEQUENCE_NUMBER, at + CHECKSUM, word)
}

export function setAcknowledgmentNumber(view: DataView, at: number, word: number): void {
  internet.replaceWord(view, at + ACKNOWLEDGMENT_NUMBER, at + CHECKSUM, word)
}

export function setFlags(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + DATA_OFFSET, at + CHECKSUM, (view.getUint8(at + DATA_OFFSET) << 8) | value)
}

export function setWindow(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + WINDOW, at + CHECKSUM, value)
}

/** Once for each word of an address that changed in the IP header. */
export function adjustChecksum(view: DataView, at: number, oldWord: number, newWord: number): void {
  setChecksum(view, at, internet.adjustWord(checksum(view, at), oldWord, newWord))
}

export function adjustChecksumPartial(view: DataView, at: number, oldWord: number, newWord: number): void {
  setChecksum(view, at, internet.adjustWordPartial(checksum(view, at), oldWord, newWord))
}

/** The field itself; the pseudo-header's sum makes it partial. */
export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

/** Over the segment from `at` to `end`; `pseudoHeader` from ipv4.ts or ipv6.ts. */
export function verifyChecksum(view: DataView, at: number, end: number, pseudoHeader: number): boolean {
  return internet.fold(internet.sum(view, at, end) + pseudoHeader) === 0xffff
}

/** One full checksum in 65,535 looks partial too: ask verifyChecksum() first. */
export function hasPartialChecksum(view: DataView, at: number, pseudoHeader: number): boolean {
  return checksum(view, at) === pseudoHeader
}

export function fillChecksum(view: DataView, at: number, end: number, pseudoHeader: number): void {
  setChecksum(view, at, 0)
  setChecksum(view, at, internet.complement(internet.sum(view, at, end) + pseudoHeader))
}

/** Sequence numbers unsigned; `options` a multiple of 4 bytes, at most 40. */
export interface Fields {
  srcPort: number
  dstPort: number
  sequenceNumber: number
  acknowledgmentNumber: number
  reserved: number
  flags: number
  window: number
  checksum: number
  urgentPointer: number
  options: Uint8Array
}

export function read(view: DataView, at: number): Fields {
  return {
    srcPort: srcPort(view, at),
    dstPort: dstPort(view, at),
    sequenceNumber: sequenceNumber(view, at) >>> 0,
    acknowledgmentNumber: acknowledgmentNumber(view, at) >>> 0,
    reserved: reserved(view, at),
    flags: flags(view, at),
    window: window(view, at),
    checksum: checksum(view, at),
    urgentPointer: urgentPointer(view, at),
    options: new Uint8Array(
      view.buffer,
      view.byteOffset + at + HEADER_LEN,
      headerLength(view, at) - HEADER_LEN,
    ).slice(),
  }
}

/** Writes every field as it is given, the checksum too. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint16(at + SRC_PORT, fields.srcPort)
  view.setUint16(at + DST_PORT, fields.dstPort)
  view.setUint32(at + SEQUENCE_NUMBER, fields.sequenceNumber)
  view.setUint32(at + ACKNOWLEDGMENT_NUMBER, fields.acknowledgmentNumber)
  view.setUint8(at + DATA_OFFSET, ((HEADER_LEN + fields.options.length) << 2) | fields.reserved)
  view.setUint8(at + FLAGS, fields.flags)
  view.setUint16(at + WINDOW, fields.window)
  view.setUint16(at + CHECKSUM, fields.checksum)
  view.setUint16(at + URGENT_POINTER, fields.urgentPointer)
  new Uint8Array(view.buffer, view.byteOffset + at + HEADER_LEN, fields.options.length).set(fields.options)
}
