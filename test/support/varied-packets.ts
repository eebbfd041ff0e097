/**
 * Packets of a few flows, as varied as stacks make them: both families, TCP and UDP, sizes, flags, options, urgent
 * data, ECN, TOS, flow labels, IP options, extension headers, fragments, checksums that are right, wrong, absent or left
 * to the device, and super-packets. Mostly the ordinary, so that trains come about; at times what must end one.
 */
import fc from 'fast-check'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../../packet/packet.ts'
import { buildBytes } from './build-packet.ts'
import { segmentNaively } from './segment-model.ts'

/** A packet as a pod's stack hands it over. */
export interface Varied {
  /** With a right checksum, also where it is left to the device. */
  bytes: Uint8Array
  gsoType: number
  gsoSizeBytes: number
  /** Whether the transport checksum is left to the device, and where it is. */
  partial: boolean
  l4: number
  checksumOffset: number
}

export const FLOWS = 4
const TIMESTAMP = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 5]
const LATER_TIMESTAMP = [1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 5]
const SACK = [1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0]
const IPV4_NOPS = [1, 1, 1, 0]
/** Destination options: a PadN of six bytes. */
const IPV6_DESTINATION_OPTIONS = 60
const MAX_SUPER_BYTES = 61_500

function mostly<T>(ordinary: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 15, arbitrary: fc.constant(ordinary) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  )
}

const step = fc.record({
  /** Odd: IPv6; of every four, two are TCP. */
  flow: fc.nat(FLOWS - 1),
  payload: mostly(700, 0, 1, 64, 301, 1300),
  segments: fc.oneof(
    { weight: 5, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.integer({ min: 2, max: 50 }) },
  ),
  lastShorter: fc.nat(300),
  flags: mostly('ack', 'ack,psh', 'ack,fin', 'syn', 'ack,ece', 'ack,cwr', 'ack,rst'),
  urgent: mostly(0, 5),
  ackno: mostly(7, 8),
  window: mostly(1000, 1001),
  options: mostly(TIMESTAMP, LATER_TIMESTAMP, SACK, []),
  tos: mostly(0, 1, 2, 3, 0xb8),
  label: mostly(0x12345, 0),
  ttl: mostly(64, 63),
  dontFragment: mostly(true, false),
  extension: mostly(false, true),
  fragment: mostly(false, true),
  checksum: fc.constantFrom('partial', 'partial', 'right', 'right', 'right', 'right', 'right', 'wrong', 'absent'),
  gap: mostly(0, 10),
  idGap: mostly(0, 3),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

export const variedPackets: fc.Arbitrary<Varied[]> = fc
  .array(step, { minLength: 1, maxLength: 60, size: 'max' })
  .map((steps) => {
    const next = new Array<number>(FLOWS).fill(1000)
    const ids = new Array<number>(FLOWS).fill(65_530)
    return steps.map((one, seed) => {
      const { flow } = one
      next[flow]! += one.gap
      ids[flow] = (ids[flow]! + one.idGap) & 0xffff
      const packet = build(one, next[flow]!, ids[flow]!, seed)
      const header = packet.l4 + (one.flow < 2 ? tcp.HEADER_LEN : 8)
      next[flow]! += packet.bytes.length - header
      ids[flow] = (ids[flow]! + one.segments) & 0xffff
      return packet
    })
  })

function build(one: Step, seq: number, id: number, seed: number): Varied {
  const v4 = one.flow % 2 === 0
  const isTcp = one.flow < 2
  // Cut where 8 divides, the first fragment is to hold the transport header whole: others are not carried.
  const isFragment = one.fragment && one.payload >= 8
  const plain = !isFragment && !one.extension && one.payload > 0
  const segments = plain ? Math.min(one.segments, Math.floor(MAX_SUPER_BYTES / one.payload)) : 1
  const payload = segments === 1 ? one.payload : segments * one.payload - Math.min(one.lastShorter, one.payload - 1)
  const ends = v4 ? '10.99.0.5:1000 > 10.99.1.9:80' : 'fd99::5.1000 > fd99:0:0:1::9.80'
  const more = isTcp ? `flags ${one.flags} seq ${seq} ackno ${one.ackno} window ${one.window}` : ''
  const ip = `id ${id} ipflags ${one.dontFragment ? 2 : 0} label ${one.label} ttl ${one.ttl} seed ${seed}`
  let bytes = buildBytes(`${isTcp ? 'tcp' : 'udp'} ${ends} payload ${payload} ${ip} ${more}`)
  const l4 = v4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN
  if (isTcp) bytes = withTcpOptions(bytes, l4, one.options, one.urgent)
  if (v4) ipv4.setTypeOfService(viewOf(bytes), 0, one.tos)
  else ipv6.setTrafficClass(viewOf(bytes), 0, one.tos)
  // Lengths and checksums as the naive model computes them.
  bytes = segmentNaively(bytes, bytes.length)[0]!
  const checksumOffset = isTcp ? 16 : 6
  const partial = segments > 1 || (one.checksum === 'partial' && !isFragment)
  if (!partial) spoil(bytes, one.checksum, l4 + checksumOffset, v4 && !isTcp)
  if (isFragment) bytes = v4 ? firstFragment4(bytes) : firstFragment6(bytes)
  else if (one.extension) bytes = v4 ? withOptions4(bytes) : withOptions6(bytes)
  const kind = isTcp ? (v4 ? GSO_TCPV4 : GSO_TCPV6) | (one.flags.includes('cwr') ? GSO_ECN : 0) : GSO_UDP_L4
  const added = !isFragment && one.extension ? (v4 ? IPV4_NOPS.length : 8) : 0
  return {
    bytes,
    gsoType: segments > 1 ? kind : GSO_NONE,
    gsoSizeBytes: segments > 1 ? one.payload : 0,
    partial,
    l4: l4 + added,
    checksumOffset,
  }
}

function spoil(bytes: Uint8Array, checksum: string, at: number, mayBeAbsent: boolean): void {
  if (checksum === 'wrong') bytes[at]! ^= 0x40
  if (checksum === 'absent' && mayBeAbsent) bytes[at] = bytes[at + 1] = 0
}

function withTcpOptions(bytes: Uint8Array, l4: number, options: number[], urgentPointer: number): Uint8Array {
  const payloadAt = l4 + tcp.HEADER_LEN
  const longer = Uint8Array.from([...bytes.subarray(0, payloadAt), ...options, ...bytes.subarray(payloadAt)])
  const fields = tcp.read(viewOf(bytes), l4)
  const flags = fields.flags | (urgentPointer > 0 ? tcp.FLAG_URG : 0)
  tcp.write(viewOf(longer), l4, { ...fields, flags, urgentPointer, options: Uint8Array.from(options) })
  return longer
}

function withOptions4(bytes: Uint8Array): Uint8Array {
  const longer = Uint8Array.from([...bytes.subarray(0, 20), ...IPV4_NOPS, ...bytes.subarray(20)])
  longer[0] = 0x46
  ipv4.setTotalLength(viewOf(longer), 0, longer.length)
  ipv4.fillChecksum(viewOf(longer), 0)
  return longer
}

function withOptions6(bytes: Uint8Array): Uint8Array {
  const padding = [ipv6.nextHeader(viewOf(bytes), 0), 0, 1, 4, 0, 0, 0, 0]
  const longer = Uint8Array.from([...bytes.subarray(0, 40), ...padding, ...bytes.subarray(40)])
  ipv6.setNextHeader(viewOf(longer), 0, IPV6_DESTINATION_OPTIONS)
  ipv6.setPayloadLength(viewOf(longer), 0, longer.length - ipv6.HEADER_LEN)
  return longer
}

/** More fragments follow, elsewhere. */
function firstFragment4(bytes: Uint8Array): Uint8Array {
  const piece = bytes.slice(0, 20 + ((bytes.length - 20) & ~7))
  ipv4.setFlags(viewOf(piece), 0, ipv4.FLAG_MORE_FRAGMENTS)
  ipv4.setTotalLength(viewOf(piece), 0, piece.length)
  ipv4.fillChecksum(viewOf(piece), 0)
  return piece
}

function firstFragment6(bytes: Uint8Array): Uint8Array {
  const data = bytes.subarray(40, 40 + ((bytes.length - 40) & ~7))
  const header = [ipv6.nextHeader(viewOf(bytes), 0), 0, 0, 1, 0, 0, 0, 9]
  const piece = Uint8Array.from([...bytes.subarray(0, 40), ...header, ...data])
  ipv6.setNextHeader(viewOf(piece), 0, 44)
  ipv6.setPayloadLength(viewOf(piece), 0, piece.length - ipv6.HEADER_LEN)
  return piece
}

/** What a device is handed where the checksum is left to it: the uncomplemented pseudo-header sum in its place. */
export function handedOver({ bytes, partial, l4, checksumOffset }: Varied): Uint8Array {
  if (!partial) return bytes
  const copy = bytes.slice()
  const view = viewOf(copy)
  const v4 = copy[0]! >> 4 === 4
  const protocol = checksumOffset === 16 ? PROTOCOL_TCP : PROTOCOL_UDP
  const sum = (v4 ? ipv4 : ipv6).pseudoHeader(view, 0, protocol, copy.length - l4)
  let folded = sum
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16)
  view.setUint16(l4 + checksumOffset, folded)
  return copy
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
