/**
 * Judges what became of one input of targets/path.ts: where it may have gone (the naive router), that what leaves is what
 * came but for TTL and envelope whatever the offload state makes of it on the way, that fragments are the whole again,
 * and that answers go to the sender, about a packet that was dropped.
 */
import * as d from '../../daemon/nic/descriptors.ts'
import { parseAddress } from '../../packet/address.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import { CHECKSUM_PARTIAL, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet } from '../../packet/packet.ts'
import { parse } from '../../packet/path/parse.ts'
import { toHex } from '../support/hex.ts'
import { judge } from '../support/naive-router.ts'
import { MTU_BYTES, POD_A, POD_B } from '../support/two-nodes.ts'

/** One transmit descriptor, and the bytes it names. */
export interface Sent {
  tx: Int32Array
  bytes: Uint8Array
}

export interface Case {
  entrance: number
  /** What was received. */
  given: Uint8Array
  rx: Int32Array
  foreign: boolean
  /** Names of the reasons that were counted. */
  drops: string[]
}

const ENTRANCES = ['from-pod', 'from-pod', 'from-host', 'from-peer', 'from-peer'] as const
const STRANGER = 4
const ENVELOPE_BYTES = 22
/** Of pod A and pod B. */
const SOURCES = [
  ['10.244.1.5', 'fd00:10:244:1::5'],
  ['10.244.1.6', 'fd00:10:244:1::6'],
].map((addresses) => addresses.map((address) => parseAddress(address).join()))
const NEIGHBOUR_ANSWER_BYTES = [28, 72]

export class Judge {
  readonly #case: Case
  readonly #sent: readonly Sent[]
  readonly #ip: Packet

  constructor(one: Case, sent: readonly Sent[]) {
    this.#case = one
    this.#sent = sent
    this.#ip = read(one.entrance >= 3 ? one.given.subarray(ENVELOPE_BYTES) : one.given)
  }

  /** In a word what became of it; throws what is wrong with that. */
  judge(): string {
    const { entrance, drops, rx } = this.#case
    const isTrain = rx[d.RX_SEGMENT]! !== 0
    for (const one of this.#sent) checkDescriptor(one)
    if (isTrain) return `train ${this.#sent.length > 0 ? 'sent' : drops.join()}`
    if (this.#sent.length === 0) {
      if (drops.length !== 1) throw new Error(`vanished: ${drops.join() || 'no reason'} was counted`)
      this.#expect('drop')
      return drops[0]!
    }
    if (entrance === STRANGER) throw new Error('a stranger was listened to')
    if (drops.length > 0) return this.#judgeAnswer()
    if (this.#isNeighbourAnswer()) return 'neighbour'
    return this.#judgeForwarded()
  }

  #expect(said: string): void {
    const { entrance, given, foreign, rx } = this.#case
    if (entrance === STRANGER || entrance === 1) return
    // Offload state decides too: what is contradictory is judged here, the rest of it not by a naive router.
    if (entrance < 3 && contradicts(this.#ip, rx)) {
      if (said !== 'drop') throw new Error(`carried to ${said} with offload state that contradicts its headers`)
      return
    }
    const oversize = foreign && given.length - ENVELOPE_BYTES > MTU_BYTES
    if (rx[d.RX_FLAGS]! >> 8 !== GSO_NONE || oversize) return
    const expected = judge(ENTRANCES[entrance]!, given, rx[d.RX_TOS])
    if (expected === 'drop' && said === 'drop') return
    if ((expected === 'world' ? 'host' : expected) !== said) throw new Error(`${said}, should be ${expected}`)
  }

  #judgeForwarded(): string {
    const [{ tx }] = this.#sent as [Sent]
    if (this.#sent.some((one) => one.tx[d.TX_PORT] !== tx[d.TX_PORT])) throw new Error('pieces went different ways')
    const said = placeOf(tx)
    this.#expect(said)
    if (this.#case.entrance < 2) this.#checkOwner(SOURCES[this.#case.entrance]!)
    const ip = this.#ip
    for (const one of this.#sent) {
      const left = finished(one)
      if (parse(left) !== 0) throw new Error(`what left is malformed: ${toHex(one.bytes)}`)
      const same =
        left.src0 === ip.src0 &&
        left.src1 === ip.src1 &&
        left.src2 === ip.src2 &&
        left.src3 === ip.src3 &&
        left.dst0 === ip.dst0 &&
        left.dst1 === ip.dst1 &&
        left.dst2 === ip.dst2 &&
        left.dst3 === ip.dst3
      if (!same || left.protocol !== ip.protocol) throw new Error('left with other addresses than it came with')
      if (left.l4 !== 0 && left.ports !== ip.ports) throw new Error('other ports')
      if (left.ttl !== ip.ttl - 1) throw new Error(`TTL ${ip.ttl} became ${left.ttl}`)
    }
    if (this.#sent.length > 1) this.#checkFragments()
    return `${said}${this.#sent.length > 1 ? ' in pieces' : ''}`
  }

  #checkOwner(addresses: readonly string[]): void {
    const { src0, src1, src2, src3 } = this.#ip
    if (!addresses.includes([src0, src1, src2, src3].join())) {
      throw new Error('a pod sent with an address that is not its own')
    }
  }

  /** Offsets in a row, every piece of a size that fits, and the bytes of the whole. */
  #checkFragments(): void {
    const whole = this.#ip
    const header = ipv4.headerLength(whole.view, whole.at)
    const partial = (this.#case.rx[d.RX_FLAGS]! & 0xff) === CHECKSUM_PARTIAL
    let at = ipv4.fragmentOffset(whole.view, whole.at) * 8
    let done = whole.at + header
    for (const [index, { bytes }] of this.#sent.entries()) {
      const piece = read(bytes)
      const own = ipv4.headerLength(piece.view, 0)
      if (bytes.length > MTU_BYTES) throw new Error(`a fragment of ${bytes.length} bytes`)
      if (ipv4.fragmentOffset(piece.view, 0) * 8 !== at) throw new Error('fragments with a gap')
      const last = index === this.#sent.length - 1
      const more = (ipv4.flags(piece.view, 0) & ipv4.FLAG_MORE_FRAGMENTS) !== 0
      if (!last && !more) throw new Error('a fragment that ends the packet too soon')
      const payload = bytes.subarray(own)
      const original = whole.bytes.subarray(done, done + payload.length)
      if (!partial && Buffer.compare(payload, original) !== 0) throw new Error('fragments with other bytes')
      at += payload.length
      done += payload.length
    }
    if (done !== whole.end) throw new Error(`fragments of ${done} bytes of ${whole.end}`)
  }

  #judgeAnswer(): string {
    const { entrance, drops, rx } = this.#case
    if (this.#sent.length !== 1) throw new Error(`${drops.join()} was answered ${this.#sent.length} times`)
    const [{ tx, bytes }] = this.#sent as [Sent]
    const back = entrance >= 3 ? d.PORT_UNDERLAY : rx[d.RX_PORT]
    if (tx[d.TX_PORT] !== back) throw new Error('an answer that does not go to the sender')
    const told = read(bytes)
    const ip = this.#ip
    if (told.dst0 !== ip.src0 || told.dst1 !== ip.src1 || told.dst2 !== ip.src2 || told.dst3 !== ip.src3) {
      throw new Error('an answer to somebody else')
    }
    if (told.protocol !== PROTOCOL_ICMP && told.protocol !== PROTOCOL_ICMPV6)
      throw new Error('an answer that is no ICMP')
    if (bytes.length > (told.family === 4 ? 576 : 1280)) throw new Error(`an answer of ${bytes.length} bytes`)
    this.#expect('drop')
    return `answered ${drops.join()}`
  }

  #isNeighbourAnswer(): boolean {
    const [{ tx, bytes }] = this.#sent as [Sent]
    return (
      this.#case.entrance === 3 && tx[d.TX_PORT] === d.PORT_UNDERLAY && NEIGHBOUR_ANSWER_BYTES.includes(bytes.length)
    )
  }
}

/** Offload state that no kernel means: the checksum anywhere but in the transport's field or the payload, or another kind of super-packet. */
function contradicts(ip: Packet, rx: Int32Array): boolean {
  const tcp = ip.protocol === PROTOCOL_TCP
  if ((rx[d.RX_FLAGS]! & 0xff) === CHECKSUM_PARTIAL) {
    const start = rx[d.RX_CSUM]! & 0xffff
    const field = start + (rx[d.RX_CSUM]! >>> 16)
    const transport = ip.l4 !== 0 && (tcp || ip.protocol === PROTOCOL_UDP)
    const right = transport && start === ip.l4 && field === ip.l4 + (tcp ? 16 : 6)
    if (!right && field < ip.payload) return true
    if (field + 2 > ip.end) return true
  }
  const gso = (rx[d.RX_FLAGS]! >> 8) & ~GSO_ECN
  if (gso === GSO_NONE) return false
  if (ip.l4 === 0 || ip.isFragment || rx[d.RX_GSO_SIZE] === 0) return true
  if (gso === GSO_UDP_L4) return ip.protocol !== PROTOCOL_UDP
  if (gso === GSO_TCPV4) return !tcp || ip.family !== 4
  return gso !== GSO_TCPV6 || !tcp || ip.family !== 6
}

function checkDescriptor({ tx, bytes }: Sent): void {
  if (![d.PORT_HOST, d.PORT_UNDERLAY, POD_A, POD_B].includes(tx[d.TX_PORT]!)) throw new Error(`port ${tx[d.TX_PORT]}`)
  if (bytes.length === 0 || bytes.length > 65_535) throw new Error(`transmits ${bytes.length} bytes`)
  const l4 = tx[d.TX_L4]! & 0xffff
  if (l4 >= bytes.length) throw new Error('a transport header outside the packet')
  if (tx[d.TX_FLAGS]! >> 8 !== GSO_NONE && tx[d.TX_GSO_SIZE]! <= 0)
    throw new Error('a super-packet of segments of nothing')
  if (tx[d.TX_TOS]! < 0 || tx[d.TX_TOS]! > 255) throw new Error(`TOS ${tx[d.TX_TOS]}`)
}

function placeOf(tx: Int32Array): string {
  const port = tx[d.TX_PORT]!
  return port === d.PORT_UNDERLAY ? `peer ${tx[d.TX_PEER]}` : port === d.PORT_HOST ? 'host' : `pod ${port}`
}

/** As whoever finishes a partial checksum leaves it: the field is anything at all then. */
function finished({ tx, bytes }: Sent): Packet {
  const copy = bytes.slice()
  if ((tx[d.TX_FLAGS]! & 0xff) === CHECKSUM_PARTIAL) {
    const field = (tx[d.TX_CSUM]! & 0xffff) + (tx[d.TX_CSUM]! >>> 16)
    for (const at of [field, field + 1]) if (at < copy.length) copy[at]! ^= 0xff
  }
  return packetOf(copy)
}

function read(bytes: Uint8Array): Packet {
  const packet = packetOf(bytes.slice())
  parse(packet)
  return packet
}

function packetOf(bytes: Uint8Array): Packet {
  const packet = new Packet(bytes)
  packet.set(0, bytes.length)
  return packet
}
