/**
 * The netlink wire format: messages and their attributes. Encoding composes small byte arrays; decoding hands out
 * views into the bytes it was given. What the attributes mean stands in link.ts, address.ts and route.ts.
 *
 *   message    length u32 | type u16 | flags u16 | sequence u32 | port u32 | body, padded to 4
 *   body       a fixed header that depends on the type | attributes
 *   attribute  length u16 (header included, padding not) | type u16 | value, padded to 4
 *
 * Decoding throws NetlinkError (EPROTO) for lengths that do not fit, and nothing else; every step consumes bytes, so
 * it ends. Numbers are in the machine's byte order: polder runs on x86_64 and aarch64, both little-endian.
 * RFC 3549; linux/netlink.h
 */
import { malformed, NetlinkError } from './netlink-error.ts'

export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3

export const NLM_F_REQUEST = 0x1
export const NLM_F_ACK = 0x4
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
/** On NLMSG_ERROR: only the header of the request is quoted; attributes follow it. */
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200

const MESSAGE_HEADER_LEN = 16
const ATTRIBUTE_HEADER_LEN = 4
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff
const NLMSGERR_ATTR_MSG = 1

export interface MessageHeader {
  type: number
  flags: number
  sequence: number
}

export interface Message extends MessageHeader {
  body: Uint8Array
}

/** Attribute values by type; of a type that occurs twice the last, as the kernel does it. */
export type Attributes = Map<number, Uint8Array>

export function encodeMessage(header: MessageHeader, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_HEADER_LEN + body.length)
  const view = viewOf(bytes)
  view.setUint32(0, bytes.length, true)
  view.setUint16(4, header.type, true)
  view.setUint16(6, header.flags, true)
  view.setUint32(8, header.sequence, true)
  bytes.set(body, MESSAGE_HEADER_LEN)
  return bytes
}

/** All messages of one datagram. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const messages: Message[] = []
  const view = viewOf(datagram)
  for (let at = 0; at < datagram.length; ) {
    const left = datagram.length - at
    if (left < MESSAGE_HEADER_LEN) throw malformed(`${left} bytes where a message header of 16 begins`)
    const length = view.getUint32(at, true)
    if (length < MESSAGE_HEADER_LEN || length > left) throw malformed(`message length ${length}, ${left} bytes left`)
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: datagram.subarray(at + MESSAGE_HEADER_LEN, at + length),
    })
    at += align(length)
  }
  return messages
}

/** What an NLMSG_ERROR or NLMSG_DONE says; undefined is success (an acknowledgement). */
export function decodeError(message: Message, operation: string): NetlinkError | undefined {
  if (message.body.length < 4) throw malformed('an error message without an error number')
  const view = viewOf(message.body)
  const errno = -view.getInt32(0, true)
  if (errno === 0) return undefined
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return new NetlinkError(operation, errno)
  const text = decodeAttributes(message.body.subarray(endOfQuote(message))).get(NLMSGERR_ATTR_MSG)
  return new NetlinkError(operation, errno, text && decodeText(text))
}

/** Where the attributes begin: NLMSG_ERROR quotes the request after the error number, NLMSG_DONE does not. */
function endOfQuote(message: Message): number {
  if (message.type === NLMSG_DONE) return 4
  if ((message.flags & NLM_F_CAPPED) !== 0) return 4 + MESSAGE_HEADER_LEN
  if (message.body.length < 4 + MESSAGE_HEADER_LEN) throw malformed('an error message that quotes no request')
  return 4 + align(viewOf(message.body).getUint32(4, true))
}

export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align(ATTRIBUTE_HEADER_LEN + value.length))
  const view = viewOf(bytes)
  view.setUint16(0, ATTRIBUTE_HEADER_LEN + value.length, true)
  view.setUint16(2, type, true)
  bytes.set(value, ATTRIBUTE_HEADER_LEN)
  return bytes
}

export function u8(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value))
}

export function u32(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, value, true)
  return attribute(type, bytes)
}

/** NUL-terminated, as the kernel wants names. */
export function text(type: number, value: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${value}\0`))
}

export function nest(type: number, ...content: Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, concat(content))
}

export function decodeAttributes(bytes: Uint8Array): Attributes {
  const attributes: Attributes = new Map()
  const view = viewOf(bytes)
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at
    if (left < ATTRIBUTE_HEADER_LEN) throw malformed(`${left} bytes where an attribute header of 4 begins`)
    const length = view.getUint16(at, true)
    if (length < ATTRIBUTE_HEADER_LEN || length > left)
      throw malformed(`attribute length ${length}, ${left} bytes left`)
    attributes.set(view.getUint16(at + 2, true) & NLA_TYPE_MASK, bytes.subarray(at + ATTRIBUTE_HEADER_LEN, at + length))
    at += align(length)
  }
  return attributes
}

/** The fixed header of a body, as a view, and the attributes behind it. */
export function decodeBody(body: Uint8Array, headerLength: number): { header: DataView; attributes: Attributes } {
  if (body.length < headerLength) throw malformed(`a body of ${body.length} bytes, at least ${headerLength} expected`)
  return { header: viewOf(body), attributes: decodeAttributes(body.subarray(align(headerLength))) }
}

export function decodeU32(value: Uint8Array): number {
  if (value.length < 4) throw malformed(`a number of ${value.length} bytes, 4 expected`)
  return viewOf(value).getUint32(0, true)
}

/** Up to the first NUL. */
export function decodeText(value: Uint8Array): string {
  const end = value.indexOf(0)
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end))
}

export function concat(parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function align(length: number): number {
  return (length + 3) & ~3
}
