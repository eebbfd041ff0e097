/**
 * ICMP for IPv4: RFC 792; the next-hop MTU by RFC 1191 section 4.
 *
 *      0               1               2               3
 *    ┌───────────────┬───────────────┬───────────────────────────────┐
 *  0 │      type     │      code     │            checksum           │
 *    ├───────────────┴───────────────┼───────────────────────────────┤
 *  4 │  identifier (echo) or unused  │sequence number or next-hop MTU│
 *    ├───────────────────────────────┴───────────────────────────────┤
 *  8 │      echo: data; error: the packet it is about, its start     │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail; which of them mean something depends on the type. The checksum covers the whole
 * message and no pseudo-header: addresses change without it, setters take it along.
 */
import * as internet from './checksum.ts'

const TYPE = 0
const CODE = 1
const CHECKSUM = 2
const IDENTIFIER = 4
const SEQUENCE_NUMBER = 6
const NEXT_HOP_MTU = 6

export const HEADER_LEN = 8

export const TYPE_ECHO_REPLY = 0
export const TYPE_DESTINATION_UNREACHABLE = 3
export const TYPE_SOURCE_QUENCH = 4
export const TYPE_REDIRECT = 5
export const TYPE_ECHO_REQUEST = 8
export const TYPE_TIME_EXCEEDED = 11
export const TYPE_PARAMETER_PROBLEM = 12

/** Destination unreachable: */
export const CODE_NET_UNREACHABLE = 0
export const CODE_HOST_UNREACHABLE = 1
export const CODE_PROTOCOL_UNREACHABLE = 2
export const CODE_PORT_UNREACHABLE = 3
export const CODE_FRAGMENTATION_NEEDED = 4
export const CODE_ADMINISTRATIVELY_PROHIBITED = 13
/** Time exceeded: */
export const CODE_TTL_EXCEEDED_IN_TRANSIT = 0

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

/** In bytes, of "fragmentation needed"; 0 from routers older than RFC 1191. */
export function nextHopMtu(view: DataView, at: number): number {
  return view.getUint16(at + NEXT_HOP_MTU)
}

export function isEcho(view: DataView, at: number): boolean {
  const value = type(view, at)
  return value === TYPE_ECHO_REQUEST || value === TYPE_ECHO_REPLY
}

/** An error quotes a packet, and no error is ever sent about an error (RFC 1122 section 3.2.2). */
export function isError(view: DataView, at: number): boolean {
  const value = type(view, at)
  return (
    (value >= TYPE_DESTINATION_UNREACHABLE && value <= TYPE_REDIRECT) ||
    value === TYPE_TIME_EXCEEDED ||
    value === TYPE_PARAMETER_PROBLEM
  )
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

export function setNextHopMtu(view: DataView, at: number, mtuBytes: number): void {
  internet.replaceHalf(view, at + NEXT_HOP_MTU, at + CHECKSUM, mtuBytes)
}

/** Over the message from `at` to `end`. */
export function verifyChecksum(view: DataView, at: number, end: number): boolean {
  return internet.sum(view, at, end) === 0xffff
}

export function fillChecksum(view: DataView, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0)
  view.setUint16(at + CHECKSUM, internet.complement(internet.sum(view, at, end)))
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
