/**
 * ICMPv6: RFC 4443; the types of neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 9777)
 * by number, so that they can be named and dropped.
 *
 *      0               1               2               3
 *    ┌───────────────┬───────────────┬───────────────────────────────┐
 *  0 │      type     │      code     │            checksum           │
 *    ├───────────────┴───────────────┴───────────────────────────────┤
 *  4 │      echo: identifier, sequence number; too big: the MTU      │
 *    ├───────────────────────────────────────────────────────────────┤
 *  8 │      echo: data; error: the packet it is about, its start     │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail; which of them mean something depends on the type. RFC 4443's general header is the
 * first word alone, but every message there is has the second one too, so check() asks for it.
 * Unlike ICMP's, the checksum covers a pseudo-header: setters take it along, an address is told to adjustChecksum().
 */
import * as internet from './checksum.ts'

const TYPE = 0
const CODE = 1
const CHECKSUM = 2
const IDENTIFIER = 4
const SEQUENCE_NUMBER = 6
const MTU = 4

export const HEADER_LEN = 8

export const TYPE_DESTINATION_UNREACHABLE = 1
export const TYPE_PACKET_TOO_BIG = 2
export const TYPE_TIME_EXCEEDED = 3
export const TYPE_PARAMETER_PROBLEM = 4
export const TYPE_ECHO_REQUEST = 128
export const TYPE_ECHO_REPLY = 129
export const TYPE_LISTENER_QUERY = 130
export const TYPE_LISTENER_REPORT = 131
export const TYPE_LISTENER_DONE = 132
export const TYPE_ROUTER_SOLICITATION = 133
export const TYPE_ROUTER_ADVERTISEMENT = 134
export const TYPE_NEIGHBOR_SOLICITATION = 135
export const TYPE_NEIGHBOR_ADVERTISEMENT = 136
export const TYPE_REDIRECT = 137
export const TYPE_LISTENER_REPORT_V2 = 143

/** Destination unreachable: */
export const CODE_NO_ROUTE = 0
export const CODE_ADMINISTRATIVELY_PROHIBITED = 1
export const CODE_ADDRESS_UNREACHABLE = 3
export const CODE_PORT_UNREACHABLE = 4
/** Time exceeded: */
export const CODE_HOP_LIMIT_EXCEEDED = 0

export function check(_view: DataView, at: number, end: number): boolean {
  return end - at >= HEADER_LEN
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE)
}

export function code(view: DataView, at: number): number {
  return view.getUint8(at + CODE)
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

/** Of an echo request or reply. */
export function identifier(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFIER)
}

/** Of an echo request or reply. */
export function sequenceNumber(view: DataView, at: number): number {
  return view.getUint16(at + SEQUENCE_NUMBER)
}

/** In bytes, of "packet too big"; a signed word, so that a senseless value is negative. */
export function mtu(view: DataView, at: number): number {
  return view.getInt32(at + MTU)
}

export function isEcho(view: DataView, at: number): boolean {
  const value = type(view, at)
  return value === TYPE_ECHO_REQUEST || value === TYPE_ECHO_REPLY
}

/** Types below 128 are errors (RFC 4443 section 2.1): they quote a packet, and none is ever sent about one. */
export function isError(view: DataView, at: number): boolean {
  return type(view, at) < 128
}

/** An empty header. To build a message: init, the setters, what follows the header, then fillChecksum. */
export function init(view: DataView, at: number): void {
  view.setInt32(at + TYPE, 0)
  view.setInt32(at + IDENTIFIER, 0)
}

export function setType(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + TYPE, at + CHECKSUM, (value << 8) | code(view, at))
}

export function setCode(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + TYPE, at + CHECKSUM, (type(view, at) << 8) | value)
}

export function setIdentifier(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + IDENTIFIER, at + CHECKSUM, value)
}

export function setSequenceNumber(view: DataView, at: number, value: number): void {
  internet.replaceHalf(view, at + SEQUENCE_NUMBER, at + CHECKSUM, value)
}

export function setMtu(view: DataView, at: number, mtuBytes: number): void {
  internet.replaceWord(view, at + MTU, at + CHECKSUM, mtuBytes)
}

/** Once for each word of an address that changed in the IPv6 header. */
export function adjustChecksum(view: DataView, at: number, oldWord: number, newWord: number): void {
  view.setUint16(at + CHECKSUM, internet.adjustWord(checksum(view, at), oldWord, newWord))
}

/** Over the message from `at` to `end`; `pseudoHeader` from ipv6.ts. */
export function verifyChecksum(view: DataView, at: number, end: number, pseudoHeader: number): boolean {
  return internet.fold(internet.sum(view, at, end) + pseudoHeader) === 0xffff
}

export function fillChecksum(view: DataView, at: number, end: number, pseudoHeader: number): void {
  view.setUint16(at + CHECKSUM, 0)
  view.setUint16(at + CHECKSUM, internet.complement(internet.sum(view, at, end) + pseudoHeader))
}

/** The second word is always given as echo's two halves, whatever the type. */
export interface Fields {
  type: number
  code: number
  checksum: number
  identifier: number
  sequenceNumber: number
}

export function read(view: DataView, at: number): Fields {
  return {
    type: type(view, at),
    code: code(view, at),
    checksum: checksum(view, at),
    identifier: identifier(view, at),
    sequenceNumber: sequenceNumber(view, at),
  }
}

/** Writes every field as it is given, the checksum too. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint8(at + TYPE, fields.type)
  view.setUint8(at + CODE, fields.code)
  view.setUint16(at + CHECKSUM, fields.checksum)
  view.setUint16(at + IDENTIFIER, fields.identifier)
  view.setUint16(at + SEQUENCE_NUMBER, fields.sequenceNumber)
}
