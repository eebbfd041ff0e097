/**
 * The UDP header: RFC 768; over IPv6 RFC 8200 section 8.1.
 *
 *      0               1               2               3
 *    ┌───────────────────────────────┬───────────────────────────────┐
 *  0 │          source port          │        destination port       │
 *    ├───────────────────────────────┼───────────────────────────────┤
 *  4 │  length, this header included │            checksum           │
 *    └───────────────────────────────┴───────────────────────────────┘
 *
 * After check() no accessor can fail. A checksum of 0 says that there is none: setters leave it so, and a computed 0 is
 * written as 0xffff, which means the same. IPv6 forbids 0, so there verifyChecksum() alone decides; over IPv4 ask
 * hasChecksum() before. Setters take a full checksum along; for partial ones see tcp.ts, it is the same here.
 * Bytes between this length and the packet's end (RFC 9868's options) are no part of the datagram.
 */
import * as internet from './checksum.ts'

const SRC_PORT = 0
const DST_PORT = 2
const LENGTH = 4
const CHECKSUM = 6

const FIXED_HEADER_LEN = 8
export const HEADER_LEN = FIXED_HEADER_LEN

/** A whole header, and the whole datagram as its length says. */
export function check(view: DataView, at: number, end: number): boolean {
  if (end - at < FIXED_HEADER_LEN) return false
  const length = view.getUint16(at + LENGTH)
  return length >= FIXED_HEADER_LEN && length <= end - at
}

/** A whole header in the first fragment of a larger packet: the datagram's end lies in another fragment. */
export function checkFirstFragment(view: DataView, at: number, end: number): boolean {
  return end - at >= HEADER_LEN && length(view, at) >= HEADER_LEN
}

export function srcPort(view: DataView, at: number): number {
  return view.getUint16(at + SRC_PORT)
}

export function dstPort(view: DataView, at: number): number {
  return view.getUint16(at + DST_PORT)
}

/** In bytes, header included. */
export function length(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH)
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function hasChecksum(view: DataView, at: number): boolean {
  return checksum(view, at) !== 0
}

/** An empty header without a checksum. To build a datagram: init, the setters, the payload, then fillChecksum. */
export function init(view: DataView, at: number): void {
  view.setInt32(at + SRC_PORT, 0)
  setLength(view, at, HEADER_LEN)
  setChecksum(view, at, 0)
}

export function setSrcPort(view: DataView, at: number, port: number): void {
  adjustChecksum(view, at, srcPort(view, at), port)
  setSrcPortPartial(view, at, port)
}

export function setDstPort(view: DataView, at: number, port: number): void {
  adjustChecksum(view, at, dstPort(view, at), port)
  setDstPortPartial(view, at, port)
}

/** A partial checksum holds no ports yet, so it stays. */
export function setSrcPortPartial(view: DataView, at: number, port: number): void {
  view.setUint16(at + SRC_PORT, port)
}

export function setDstPortPartial(view: DataView, at: number, port: number): void {
  view.setUint16(at + DST_PORT, port)
}

/** Leaves the checksum alone: another length means other bytes, and fillChecksum() after them. */
export function setLength(view: DataView, at: number, lengthBytes: number): void {
  view.setUint16(at + LENGTH, lengthBytes)
}

/** Once for each word of an address that changed in the IP header (a port is a word too). */
export function adjustChecksum(view: DataView, at: number, oldWord: number, newWord: number): void {
  const old = checksum(view, at)
  if (old !== 0) setChecksum(view, at, internet.adjustWord(old, oldWord, newWord) || 0xffff)
}

export function adjustChecksumPartial(view: DataView, at: number, oldWord: number, newWord: number): void {
  setChecksum(view, at, internet.adjustWordPartial(checksum(view, at), oldWord, newWord))
}

/** The field itself; the pseudo-header's sum makes it partial. */
export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

/** From `at` to `end` = at + length(); `pseudoHeader` from ipv4.ts or ipv6.ts. False where there is no checksum. */
export function verifyChecksum(view: DataView, at: number, end: number, pseudoHeader: number): boolean {
  return hasChecksum(view, at) && internet.fold(internet.sum(view, at, end) + pseudoHeader) === 0xffff
}

/** One full checksum in 65,535 looks partial too: ask verifyChecksum() first. */
export function hasPartialChecksum(view: DataView, at: number, pseudoHeader: number): boolean {
  return checksum(view, at) === pseudoHeader
}

export function fillChecksum(view: DataView, at: number, end: number, pseudoHeader: number): void {
  setChecksum(view, at, 0)
  setChecksum(view, at, internet.complement(internet.sum(view, at, end) + pseudoHeader) || 0xffff)
}

export interface Fields {
  srcPort: number
  dstPort: number
  length: number
  checksum: number
}

export function read(view: DataView, at: number): Fields {
  return {
    srcPort: srcPort(view, at),
    dstPort: dstPort(view, at),
    length: length(view, at),
    checksum: checksum(view, at),
  }
}

/** Writes every field as it is given, the checksum too. */
export function write(view: DataView, at: number, fields: Fields): void {
  setSrcPortPartial(view, at, fields.srcPort)
  setDstPortPartial(view, at, fields.dstPort)
  setLength(view, at, fields.length)
  setChecksum(view, at, fields.checksum)
}
