/**
 * The IPv6 header and the way over its extension headers: RFC 8200 sections 3 and 4.
 *
 *      0               1               2               3
 *    ┌───────┬───────────────┬───────────────────────────────────────┐
 *  0 │ ver=6 │ traffic class │               flow label              │
 *    ├───────┴───────────────┴───────┬───────────────┬───────────────┤
 *  4 │         payload length        │  next header  │   hop limit   │
 *    ├───────────────────────────────┴───────────────┴───────────────┤
 *  8 │                    source address, 4 words                    │
 *    ├───────────────────────────────────────────────────────────────┤
 * 24 │                  destination address, 4 words                 │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * The fragment header (section 4.5):
 *    ┌───────────────┬───────────────┬─────────────────────────┬───┬─┐
 *  0 │  next header  │    reserved   │   fragment offset / 8   │ 0 │M│
 *    ├───────────────┴───────────────┴─────────────────────────┴───┴─┤
 *  4 │                         identification                        │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail; after walk() neither can those of the fragment header. An address is four
 * big-endian words, signed (`| 0`), word 0 first. There is no header checksum: setters only write.
 * Jumbograms (RFC 2675) are not understood; options are carried, never interpreted.
 */
import * as checksum from './checksum.ts'
import {
  PROTOCOL_AH,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOP_BY_HOP,
  PROTOCOL_ROUTING,
} from './protocols.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const HOP_BY_HOP = PROTOCOL_HOP_BY_HOP
const DESTINATION_OPTIONS = PROTOCOL_DESTINATION_OPTIONS
const ROUTING = PROTOCOL_ROUTING
const FRAGMENT = PROTOCOL_FRAGMENT
const AH = PROTOCOL_AH

const VERSION_CLASS_LABEL = 0
const PAYLOAD_LENGTH = 4
const NEXT_HEADER = 6
const HOP_LIMIT = 7
const SRC = 8
const DST = 24

const FIXED_HEADER_LEN = 40
export const HEADER_LEN = FIXED_HEADER_LEN

/** Extension headers: offsets, and how many a packet may have (a chain of hundreds is an attack, not a packet). */
const EXTENSION_LENGTH = 1
const ROUTING_SEGMENTS_LEFT = 3
const FRAGMENT_OFFSET = 2
const FRAGMENT_IDENTIFICATION = 4
const EXTENSION_MIN_LEN = 8
export const FRAGMENT_HEADER_LEN = 8
export const MAX_EXTENSION_HEADERS = 8

/** A whole header, and the whole packet as its payload length says. The extension headers are walk()'s. */
export function check(view: DataView, at: number, end: number): boolean {
  return end - at >= FIXED_HEADER_LEN && areWhole(view.getInt32(at), view.getInt32(at + PAYLOAD_LENGTH), end - at)
}

export function trafficClass(view: DataView, at: number): number {
  return (view.getUint16(at + VERSION_CLASS_LABEL) >> 4) & 0xff
}

export function dscp(view: DataView, at: number): number {
  return trafficClass(view, at) >> 2
}

export function ecn(view: DataView, at: number): number {
  return trafficClass(view, at) & 3
}

export function flowLabel(view: DataView, at: number): number {
  return view.getInt32(at + VERSION_CLASS_LABEL) & 0xfffff
}

/** In bytes: extension headers and everything after them. */
export function payloadLength(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_LENGTH)
}

/** In bytes, header included, as IPv4's. */
export function totalLength(view: DataView, at: number): number {
  return HEADER_LEN + payloadLength(view, at)
}

export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER)
}

export function hopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT)
}

/** `i`: 0 to 3. */
export function srcAddrWord(view: DataView, at: number, i: number): number {
  return view.getInt32(at + SRC + 4 * i)
}

/** `i`: 0 to 3. */
export function dstAddrWord(view: DataView, at: number, i: number): number {
  return view.getInt32(at + DST + 4 * i)
}

/** What walk() finds; one object, used again for every packet. */
export interface UpperLayer {
  /** The first next-header value that is no extension header: a transport, ESP (50), or none (59). */
  protocol: number
  /** Where the header of `protocol` begins; in a fragment that is not the first, where its piece of the payload does. */
  offset: number
  /** Where the fragment header stands, 0 where there is none. */
  fragmentAt: number
  /** In units of 8 bytes. Where it is not 0, `protocol` is what the fragment header says and no header follows. */
  fragmentOffset: number
  moreFragments: boolean
}

/** The object to use again and again. */
export function upperLayer(): UpperLayer {
  return { protocol: 0, offset: 0, fragmentAt: 0, fragmentOffset: 0, moreFragments: false }
}

/**
 * Walks from the header at `at` (checked) to the upper layer, never beyond `end` (at + totalLength()). False where the
 * chain is broken: cut off, more than MAX_EXTENSION_HEADERS, two fragment headers, a fragment beyond 65,535 bytes, hop-by-hop options not in the first
 * place, or a routing header that has segments left. Such a packet's destination is not its final one, so neither its
 * checksum nor any rule about its destination can be judged (RFC 8200 section 8.1, RFC 5095).
 */
export function walk(view: DataView, at: number, end: number, out: UpperLayer): boolean {
  out.fragmentAt = 0
  out.fragmentOffset = 0
  out.moreFragments = false
  let next = view.getUint8(at + NEXT_HEADER)
  let offset = at + FIXED_HEADER_LEN
  for (let count = 0; isExtension(next) && out.fragmentOffset === 0; count++) {
    if (count === MAX_EXTENSION_HEADERS || end - offset < EXTENSION_MIN_LEN) return false
    if (next === PROTOCOL_HOP_BY_HOP && count !== 0) return false
    if (next === PROTOCOL_ROUTING && view.getUint8(offset + ROUTING_SEGMENTS_LEFT) !== 0) return false
    if (next === PROTOCOL_FRAGMENT) {
      if (out.fragmentAt !== 0) return false
      out.fragmentAt = offset
      out.fragmentOffset = view.getUint16(offset + FRAGMENT_OFFSET) >> 3
      out.moreFragments = (view.getUint16(offset + FRAGMENT_OFFSET) & 1) !== 0
      // It would end behind the largest packet there can be (section 4.5).
      if (out.fragmentOffset * 8 + end - offset - FRAGMENT_HEADER_LEN > 0xffff) return false
    }
    const length = extensionLength(view, offset, next)
    if (length > end - offset) return false
    next = view.getUint8(offset)
    offset += length
  }
  out.protocol = next
  out.offset = offset
  return true
}

/** Whether walk() has anything to walk. */
export function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === DESTINATION_OPTIONS ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === AH
  )
}

/** In bytes. The authentication header alone counts words of 4, less two (RFC 4302 section 2.2). */
function extensionLength(view: DataView, at: number, protocol: number): number {
  if (protocol === PROTOCOL_FRAGMENT) return FRAGMENT_HEADER_LEN
  const length = view.getUint8(at + EXTENSION_LENGTH)
  return protocol === PROTOCOL_AH ? (length + 2) * 4 : (length + 1) * 8
}

/** `fragmentAt`: where walk() found the fragment header. */
export function fragmentIdentification(view: DataView, fragmentAt: number): number {
  return view.getInt32(fragmentAt + FRAGMENT_IDENTIFICATION)
}

/** An empty header; the setters fill it in. */
export function init(view: DataView, at: number): void {
  for (let i = 0; i < HEADER_LEN; i += 4) view.setInt32(at + i, 0)
  view.setUint8(at + VERSION_CLASS_LABEL, 0x60)
}

export function setTrafficClass(view: DataView, at: number, value: number): void {
  view.setUint16(at + VERSION_CLASS_LABEL, (view.getUint16(at + VERSION_CLASS_LABEL) & 0xf00f) | (value << 4))
}

export function setEcn(view: DataView, at: number, value: number): void {
  setTrafficClass(view, at, (trafficClass(view, at) & ~3) | value)
}

export function setFlowLabel(view: DataView, at: number, value: number): void {
  view.setInt32(at + VERSION_CLASS_LABEL, (view.getInt32(at + VERSION_CLASS_LABEL) & ~0xfffff) | value)
}

export function setPayloadLength(view: DataView, at: number, lengthBytes: number): void {
  view.setUint16(at + PAYLOAD_LENGTH, lengthBytes)
}

export function setNextHeader(view: DataView, at: number, value: number): void {
  view.setUint8(at + NEXT_HEADER, value)
}

export function setHopLimit(view: DataView, at: number, value: number): void {
  view.setUint8(at + HOP_LIMIT, value)
}

/** The caller has made sure that the hop limit is not 0. */
export function decrementHopLimit(view: DataView, at: number): void {
  view.setUint8(at + HOP_LIMIT, view.getUint8(at + HOP_LIMIT) - 1)
}

export function setSrcAddrWord(view: DataView, at: number, i: number, word: number): void {
  view.setInt32(at + SRC + 4 * i, word)
}

export function setDstAddrWord(view: DataView, at: number, i: number, word: number): void {
  view.setInt32(at + DST + 4 * i, word)
}

/** The sum that the transport checksums start from; `lengthBytes` is the transport header and its payload. */
export function pseudoHeader(view: DataView, at: number, protocol: number, lengthBytes: number): number {
  return checksum.pseudoHeader(view, at + SRC, at + HEADER_LEN, protocol, lengthBytes)
}

// The first two words, for the path, which reads all of them: one load a word, and what is in it by shifts.

/** What check() asks; there are 40 bytes at least in `roomBytes`. */
export function areWhole(first: number, second: number, roomBytes: number): boolean {
  return first >>> 28 === 6 && FIXED_HEADER_LEN + (second >>> 16) <= roomBytes
}

export function trafficClassOf(first: number): number {
  return (first >>> 20) & 0xff
}

export function payloadLengthOf(second: number): number {
  return second >>> 16
}

export function nextHeaderOf(second: number): number {
  return (second >>> 8) & 0xff
}

export function hopLimitOf(second: number): number {
  return second & 0xff
}

/** Addresses as four signed words each. */
export interface Fields {
  trafficClass: number
  flowLabel: number
  payloadLength: number
  nextHeader: number
  hopLimit: number
  srcAddr: number[]
  dstAddr: number[]
}

export function read(view: DataView, at: number): Fields {
  return {
    trafficClass: trafficClass(view, at),
    flowLabel: flowLabel(view, at),
    payloadLength: payloadLength(view, at),
    nextHeader: nextHeader(view, at),
    hopLimit: hopLimit(view, at),
    srcAddr: [0, 1, 2, 3].map((i) => srcAddrWord(view, at, i)),
    dstAddr: [0, 1, 2, 3].map((i) => dstAddrWord(view, at, i)),
  }
}

export function write(view: DataView, at: number, fields: Fields): void {
  init(view, at)
  setTrafficClass(view, at, fields.trafficClass)
  setFlowLabel(view, at, fields.flowLabel)
  setPayloadLength(view, at, fields.payloadLength)
  setNextHeader(view, at, fields.nextHeader)
  setHopLimit(view, at, fields.hopLimit)
  for (let i = 0; i < 4; i++) {
    setSrcAddrWord(view, at, i, fields.srcAddr[i]!)
    setDstAddrWord(view, at, i, fields.dstAddr[i]!)
  }
}
