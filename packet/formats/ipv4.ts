/**
 * The IPv4 header: RFC 791 section 3.1; DSCP by RFC 2474, ECN by RFC 3168.
 *
 *      0               1               2               3
 *    ┌───────┬───────┬───────────┬───┬───────────────────────────────┐
 *  0 │ ver=4 │  IHL  │    DSCP   │ECN│          total length         │
 *    ├───────┴───────┴───────────┴───┼─┬─┬─┬─────────────────────────┤
 *  4 │         identification        │0│D│M│   fragment offset / 8   │
 *    ├───────────────┬───────────────┼─┴─┴─┴─────────────────────────┤
 *  8 │  time to live │    protocol   │        header checksum        │
 *    ├───────────────┴───────────────┴───────────────────────────────┤
 * 12 │                         source address                        │
 *    ├───────────────────────────────────────────────────────────────┤
 * 16 │                      destination address                      │
 *    ├───────────────────────────────────────────────────────────────┤
 * 20 │     options, up to 40 bytes (IHL counts words of 4 bytes)     │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail. An address is one big-endian word, signed (`| 0`). Every setter takes the header
 * checksum along; the transport's checksum covers the addresses too and is the transport file's affair.
 * Options are carried, never interpreted.
 */
import * as checksum from './checksum.ts'

const TOTAL_LENGTH_MAX = 0xffff

const VERSION_IHL = 0
/** Version 4, five words: no options. */
const VERSION_IHL_PLAIN = 0x45
const TYPE_OF_SERVICE = 1
const TOTAL_LENGTH = 2
const IDENTIFICATION = 4
const FLAGS_FRAGMENT = 6
const TTL = 8
const PROTOCOL = 9
const CHECKSUM = 10
const SRC = 12
const DST = 16

const MIN_HEADER_LEN = 20
/** Without options. */
export const HEADER_LEN = MIN_HEADER_LEN

export const FLAG_RESERVED = 4
export const FLAG_DONT_FRAGMENT = 2
export const FLAG_MORE_FRAGMENTS = 1
const FRAGMENT_OFFSET_MASK = 0x1fff
/** The offset, and the flag that says that more follow. */
const FRAGMENT_MASK = 0x3fff

/** A whole header, and the whole packet as its total length says. The header checksum is verifyChecksum()'s. */
export function check(view: DataView, at: number, end: number): boolean {
  return end - at >= MIN_HEADER_LEN && areWhole(view.getInt32(at), view.getInt32(at + IDENTIFICATION), end - at)
}

export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION_IHL) & 0xf) << 2
}

/** DSCP and ECN in one byte, IPv6's traffic class. */
export function typeOfService(view: DataView, at: number): number {
  return view.getUint8(at + TYPE_OF_SERVICE)
}

export function dscp(view: DataView, at: number): number {
  return view.getUint8(at + TYPE_OF_SERVICE) >> 2
}

export function ecn(view: DataView, at: number): number {
  return view.getUint8(at + TYPE_OF_SERVICE) & 3
}

/** In bytes, header included. */
export function totalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH)
}

export function identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION)
}

export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS_FRAGMENT) >> 5
}

export function dontFragment(view: DataView, at: number): boolean {
  return (flags(view, at) & FLAG_DONT_FRAGMENT) !== 0
}

export function moreFragments(view: DataView, at: number): boolean {
  return (flags(view, at) & FLAG_MORE_FRAGMENTS) !== 0
}

/** In units of 8 bytes, as on the wire. Where it is not 0, no transport header follows. */
export function fragmentOffset(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS_FRAGMENT) & FRAGMENT_OFFSET_MASK
}

/** First, middle or last fragment of a larger packet. */
export function isFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FLAGS_FRAGMENT) & FRAGMENT_MASK) !== 0
}

export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL)
}

export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL)
}

export function headerChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function srcAddr(view: DataView, at: number): number {
  return view.getInt32(at + SRC)
}

export function dstAddr(view: DataView, at: number): number {
  return view.getInt32(at + DST)
}

/** An empty header of 20 bytes whose checksum is right and stays right while the setters fill it in. */
export function init(view: DataView, at: number): void {
  for (let i = 0; i < HEADER_LEN; i += 4) view.setInt32(at + i, 0)
  view.setUint8(at + VERSION_IHL, VERSION_IHL_PLAIN)
  fillChecksum(view, at)
}

export function setTypeOfService(view: DataView, at: number, value: number): void {
  setHalf(view, at, VERSION_IHL, (view.getUint8(at + VERSION_IHL) << 8) | value)
}

export function setEcn(view: DataView, at: number, value: number): void {
  setTypeOfService(view, at, (typeOfService(view, at) & ~3) | value)
}

export function setTotalLength(view: DataView, at: number, lengthBytes: number): void {
  setHalf(view, at, TOTAL_LENGTH, lengthBytes)
}

export function setIdentification(view: DataView, at: number, value: number): void {
  setHalf(view, at, IDENTIFICATION, value)
}

export function setFlags(view: DataView, at: number, value: number): void {
  setHalf(view, at, FLAGS_FRAGMENT, (value << 13) | fragmentOffset(view, at))
}

export function setFragmentOffset(view: DataView, at: number, value: number): void {
  setHalf(view, at, FLAGS_FRAGMENT, (flags(view, at) << 13) | value)
}

export function setTtl(view: DataView, at: number, value: number): void {
  setHalf(view, at, TTL, (value << 8) | protocol(view, at))
}

/**
 * The caller has made sure that the TTL is not 0. One load and one store: what the checksum loses is always 0x100, so
 * RFC 1624's ~m + m' is 0xfeff.
 */
export function decrementTtl(view: DataView, at: number): void {
  const word = view.getInt32(at + TTL)
  const sum = (~word & 0xffff) + 0xfeff
  const less = ((word >>> 24) - 1) << 24
  view.setInt32(at + TTL, less | (word & 0xff0000) | (~(sum + (sum >>> 16)) & 0xffff))
}

export function setProtocol(view: DataView, at: number, value: number): void {
  setHalf(view, at, TTL, (ttl(view, at) << 8) | value)
}

export function setSrcAddr(view: DataView, at: number, word: number): void {
  checksum.replaceWord(view, at + SRC, at + CHECKSUM, word)
}

export function setDstAddr(view: DataView, at: number, word: number): void {
  checksum.replaceWord(view, at + DST, at + CHECKSUM, word)
}

function setHalf(view: DataView, at: number, offset: number, value: number): void {
  checksum.replaceHalf(view, at + offset, at + CHECKSUM, value)
}

export function verifyChecksum(view: DataView, at: number): boolean {
  const first = view.getInt32(at)
  if (!isPlain(first)) return checksum.sum(view, at, at + headerLength(view, at)) === 0xffff
  const [second, third] = [view.getInt32(at + IDENTIFICATION), view.getInt32(at + TTL)]
  return areSound(first, second, third, srcAddr(view, at), dstAddr(view, at))
}

export function fillChecksum(view: DataView, at: number): void {
  view.setUint16(at + CHECKSUM, 0)
  view.setUint16(at + CHECKSUM, checksum.complement(checksum.sum(view, at, at + headerLength(view, at))))
}

/** The sum that the transport checksums start from; `lengthBytes` is the transport header and its payload. */
export function pseudoHeader(view: DataView, at: number, protocol: number, lengthBytes: number): number {
  return checksum.pseudoHeader(view, at + SRC, at + HEADER_LEN, protocol, lengthBytes)
}

// The header in words, for the path, which reads all of it: one load a word, and what is in it by shifts.

/** What check() asks, of the first two words; there are 20 bytes at least in `roomBytes`. */
export function areWhole(first: number, second: number, roomBytes: number): boolean {
  const header = (first >>> 22) & 0x3c
  const total = first & 0xffff
  if (first >>> 28 !== 4 || header < MIN_HEADER_LEN || header > total || total > roomBytes) return false
  // A fragment that ends behind the largest packet there can be, from which some reassembly wrote out of bounds.
  return (second & FRAGMENT_OFFSET_MASK) * 8 + total <= TOTAL_LENGTH_MAX
}

/** Whether the header has no options, as nearly all have none: its words are five. */
export function isPlain(first: number): boolean {
  return first >>> 24 === VERSION_IHL_PLAIN
}

/** Whether the checksum of a header without options is right: half the time of the loop. */
export function areSound(first: number, second: number, third: number, src: number, dst: number): boolean {
  const high = (first >>> 16) + (second >>> 16) + (third >>> 16) + (src >>> 16) + (dst >>> 16)
  const low = (first & 0xffff) + (second & 0xffff) + (third & 0xffff) + (src & 0xffff) + (dst & 0xffff)
  const sum = high + low
  // Of ten halves at most nine are carried, so that folding once is enough.
  return (sum & 0xffff) + (sum >>> 16) === 0xffff
}

export function headerLengthOf(first: number): number {
  return (first >>> 22) & 0x3c
}

export function typeOfServiceOf(first: number): number {
  return (first >>> 16) & 0xff
}

export function totalLengthOf(first: number): number {
  return first & 0xffff
}

export function identificationOf(second: number): number {
  return second >>> 16
}

export function isFragmentOf(second: number): boolean {
  return (second & FRAGMENT_MASK) !== 0
}

export function fragmentOffsetOf(second: number): number {
  return second & FRAGMENT_OFFSET_MASK
}

export function ttlOf(third: number): number {
  return third >>> 24
}

export function protocolOf(third: number): number {
  return (third >>> 16) & 0xff
}

/** Addresses as signed words; `options` a multiple of 4 bytes, at most 40. */
export interface Fields {
  dscp: number
  ecn: number
  totalLength: number
  identification: number
  flags: number
  fragmentOffset: number
  ttl: number
  protocol: number
  headerChecksum: number
  srcAddr: number
  dstAddr: number
  options: Uint8Array
}

export function read(view: DataView, at: number): Fields {
  return {
    dscp: dscp(view, at),
    ecn: ecn(view, at),
    totalLength: totalLength(view, at),
    identification: identification(view, at),
    flags: flags(view, at),
    fragmentOffset: fragmentOffset(view, at),
    ttl: ttl(view, at),
    protocol: protocol(view, at),
    headerChecksum: headerChecksum(view, at),
    srcAddr: srcAddr(view, at),
    dstAddr: dstAddr(view, at),
    options: new Uint8Array(
      view.buffer,
      view.byteOffset + at + HEADER_LEN,
      headerLength(view, at) - HEADER_LEN,
    ).slice(),
  }
}

/** Writes every field as it is given, the checksum too. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint8(at + VERSION_IHL, 0x40 | ((HEADER_LEN + fields.options.length) >> 2))
  view.setUint8(at + TYPE_OF_SERVICE, (fields.dscp << 2) | fields.ecn)
  view.setUint16(at + TOTAL_LENGTH, fields.totalLength)
  view.setUint16(at + IDENTIFICATION, fields.identification)
  view.setUint16(at + FLAGS_FRAGMENT, (fields.flags << 13) | fields.fragmentOffset)
  view.setUint8(at + TTL, fields.ttl)
  view.setUint8(at + PROTOCOL, fields.protocol)
  view.setUint16(at + CHECKSUM, fields.headerChecksum)
  view.setInt32(at + SRC, fields.srcAddr)
  view.setInt32(at + DST, fields.dstAddr)
  new Uint8Array(view.buffer, view.byteOffset + at + HEADER_LEN, fields.options.length).set(fields.options)
}
