/**
 * What is said on a link about whose address an address is, as whole Ethernet frames: ARP (RFC 826; announcements as in
 * RFC 5227, 2.3) and neighbour discovery (RFC 4861, 4.3 and 4.4). Questions are read, answers and announcements written;
 * pure. Whether to answer is decided elsewhere (announcer.ts).
 */
import { type AddressWords, formatAddress, parseAddress } from '../../packet/address.ts'
import * as arp from '../../packet/formats/arp.ts'
import * as ethernet from '../../packet/formats/ethernet.ts'
import * as icmpv6 from '../../packet/formats/icmpv6.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMPV6 } from '../../packet/formats/protocols.ts'

/** The longest frame that is read here: a solicitation with more options than anybody sends. */
export const FRAME_BYTES_MAX = 256

/** What somebody said: he asks who has `address`, or says that he has it himself. */
export interface Heard {
  kind: 'question' | 'claim'
  address: string
  /** Who said it, as six bytes; and his address, undefined where he has none yet. */
  mac: Uint8Array
  from: string | undefined
}

/** Neighbour messages after their first word: flags or nothing (4), the target (16), options. */
const TARGET = 8
const SOLICITATION_BYTES = TARGET + 16
const ADVERTISEMENT_BYTES = SOLICITATION_BYTES + 8
const FLAG_SOLICITED = 0x40000000
const FLAG_OVERRIDE = 0x20000000
const OPTION_TARGET_ADDRESS = 0x0201 // type 2, one unit of 8 bytes
/** Proves that the message was forwarded by nobody (RFC 4861, 7.1.1). */
const HOP_LIMIT = 255
const AT = ethernet.HEADER_LEN
const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255)
const ALL_NODES = parseAddress('ff02::1')
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1)

/** Undefined for what is neither. */
export function hear(frame: Uint8Array): Heard | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (!ethernet.check(view, 0, frame.length)) return undefined
  const type = ethernet.etherType(view, 0)
  if (type === ethernet.ETHERTYPE_ARP) return hearArp(view, frame)
  return type === ethernet.ETHERTYPE_IPV6 ? hearSolicitation(view, frame) : undefined
}

function hearArp(view: DataView, frame: Uint8Array): Heard | undefined {
  if (!arp.check(view, AT, frame.length)) return undefined
  const sender = arp.senderProtocolAddr(view, AT)
  const target = arp.targetProtocolAddr(view, AT)
  const mac = frame.slice(AT + 8, AT + 14)
  const isRequest = arp.operation(view, AT) === arp.OPERATION_REQUEST
  if (isRequest && sender !== target) {
    return { kind: 'question', address: ipv4Text(target), mac, from: sender === 0 ? undefined : ipv4Text(sender) }
  }
  return sender === 0 ? undefined : { kind: 'claim', address: ipv4Text(sender), mac, from: ipv4Text(sender) }
}

function hearSolicitation(view: DataView, frame: Uint8Array): Heard | undefined {
  const message = AT + ipv6.HEADER_LEN
  if (!ipv6.check(view, AT, frame.length) || ipv6.nextHeader(view, AT) !== PROTOCOL_ICMPV6) return undefined
  const length = ipv6.payloadLength(view, AT)
  if (ipv6.hopLimit(view, AT) !== HOP_LIMIT || length < SOLICITATION_BYTES) return undefined
  if (icmpv6.type(view, message) !== icmpv6.TYPE_NEIGHBOR_SOLICITATION) return undefined
  const pseudoHeader = ipv6.pseudoHeader(view, AT, PROTOCOL_ICMPV6, length)
  if (!icmpv6.verifyChecksum(view, message, message + length, pseudoHeader)) return undefined
  const word = (at: number): AddressWords => [0, 4, 8, 12].map((i) => view.getInt32(at + i)) as unknown as AddressWords
  const source = word(AT + 8)
  return {
    kind: 'question',
    address: formatAddress(word(message + TARGET)),
    mac: frame.slice(6, 12),
    from: source.every((part) => part === 0) ? undefined : formatAddress(source),
  }
}

/** The answer to a question: `own` has the address. */
export function answerTo({ address, mac, from }: Heard, own: Uint8Array): Uint8Array {
  if (!address.includes(':')) return arpFrame(arp.OPERATION_REPLY, { address, own, to: mac, target: from ?? '0.0.0.0' })
  // Who has no address yet is answered by telling everybody (RFC 4861, 7.2.4).
  if (from === undefined) return announcementsOf(address, own)[0]!
  return advertisement({ address, own, to: mac, target: parseAddress(from), flags: FLAG_SOLICITED | FLAG_OVERRIDE })
}

/** What tells everybody on the link that `own` has the address now. Some believe only one of ARP's two forms. */
export function announcementsOf(address: string, own: Uint8Array): Uint8Array[] {
  if (address.includes(':')) {
    return [advertisement({ address, own, to: ALL_NODES_MAC, target: ALL_NODES, flags: FLAG_OVERRIDE })]
  }
  const told = { address, own, to: BROADCAST, target: address }
  return [arpFrame(arp.OPERATION_REQUEST, told), arpFrame(arp.OPERATION_REPLY, told)]
}

/** The group to which questions for an address of IPv6 go, on Ethernet (RFC 4291, 2.7.1; RFC 2464, 7). */
export function solicitedGroupOf(address: string): Uint8Array {
  const low = parseAddress(address)[3]
  return Uint8Array.of(0x33, 0x33, 0xff, (low >>> 16) & 255, (low >>> 8) & 255, low & 255)
}

export function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(':').map((part) => Number.parseInt(part, 16)))
}

function arpFrame(
  operation: number,
  { address, own, to, target }: { address: string; own: Uint8Array; to: Uint8Array; target: string },
): Uint8Array {
  const { frame, view } = frameOf(arp.HEADER_LEN, ethernet.ETHERTYPE_ARP, own, to)
  arp.init(view, AT)
  arp.setOperation(view, AT, operation)
  frame.set(own, AT + 8)
  arp.setSenderProtocolAddr(view, AT, parseAddress(address)[3])
  // In an announcement by request this field says nothing (RFC 5227, 1.1).
  if (operation === arp.OPERATION_REPLY) frame.set(to, AT + 18)
  arp.setTargetProtocolAddr(view, AT, parseAddress(target)[3])
  return frame
}

function advertisement({
  address,
  own,
  to,
  target,
  flags,
}: {
  address: string
  own: Uint8Array
  to: Uint8Array
  target: AddressWords
  flags: number
}): Uint8Array {
  const { frame, view } = frameOf(ipv6.HEADER_LEN + ADVERTISEMENT_BYTES, ethernet.ETHERTYPE_IPV6, own, to)
  const message = AT + ipv6.HEADER_LEN
  const words = parseAddress(address)
  ipv6.init(view, AT)
  ipv6.setPayloadLength(view, AT, ADVERTISEMENT_BYTES)
  ipv6.setNextHeader(view, AT, PROTOCOL_ICMPV6)
  ipv6.setHopLimit(view, AT, HOP_LIMIT)
  for (let i = 0; i < 4; i++) {
    ipv6.setSrcAddrWord(view, AT, i, words[i]!)
    ipv6.setDstAddrWord(view, AT, i, target[i]!)
    view.setInt32(message + TARGET + i * 4, words[i]!)
  }
  icmpv6.init(view, message)
  icmpv6.setType(view, message, icmpv6.TYPE_NEIGHBOR_ADVERTISEMENT)
  view.setUint32(message + 4, flags)
  view.setUint16(message + SOLICITATION_BYTES, OPTION_TARGET_ADDRESS)
  frame.set(own, message + SOLICITATION_BYTES + 2)
  const pseudoHeader = ipv6.pseudoHeader(view, AT, PROTOCOL_ICMPV6, ADVERTISEMENT_BYTES)
  icmpv6.fillChecksum(view, message, frame.length, pseudoHeader)
  return frame
}

function frameOf(bytes: number, type: number, own: Uint8Array, to: Uint8Array): { frame: Uint8Array; view: DataView } {
  const frame = new Uint8Array(AT + bytes)
  frame.set(to, 0)
  frame.set(own, 6)
  const view = new DataView(frame.buffer)
  ethernet.setEtherType(view, 0, type)
  return { frame, view }
}

function ipv4Text(word: number): string {
  return formatAddress([0, 0, 0xffff, word])
}
