/**
 * One batch: receive descriptors in, transmit descriptors out, each packet through its entrance. The only place where
 * the path of `packet/` meets the descriptors of the addon. Nothing here allocates.
 *
 * What the path itself makes (answers, fragments) is written to scratch slots behind the receive slots; when these or
 * the transmit descriptors are used up, what there is is sent first.
 *
 * The memory is not its own: how far a batch has come is written down packet by packet (batch-memory.ts), and `run`
 * goes on from there, be it where another worker died.
 */
import * as ethernet from '../../packet/formats/ethernet.ts'
import * as slot from '../../packet/packet.ts'
import { ANSWER_BYTES, answer, isAnswered } from '../../packet/path/answer.ts'
import {
  DROP_BAD_OFFLOAD,
  DROP_DEVICE_REFUSED,
  DROP_MALFORMED_VXLAN,
  DROP_PEER_UNREACHABLE,
  DROP_POISON,
  DROP_SOCKET_FULL,
  DROP_UNDERLAY_TOO_BIG,
} from '../../packet/path/drop-reason.ts'
import { cut, finishChecksum, fragmentsBytes, ipPayloadBytes } from '../../packet/path/fragment.ts'
import * as hostEntrance from '../../packet/path/from-host.ts'
import * as peerEntrance from '../../packet/path/from-peer.ts'
import * as podEntrance from '../../packet/path/from-pod.ts'
import { answerNeighbour, NEIGHBOUR_ANSWER_BYTES } from '../../packet/path/neighbour.ts'
import { encapsulate } from '../../packet/path/rewrite.ts'
import * as verdicts from '../../packet/path/verdict.ts'
import type { Tables } from '../../packet/tables/tables.ts'
import { TokenBuckets } from '../../packet/tables/token-buckets.ts'
import * as descriptors from '../nic/descriptors.ts'
import * as batchMemory from './batch-memory.ts'
import { PeerMemory } from './peer-memory.ts'
import * as protocol from './protocol.ts'
import * as quarantine from './quarantine.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const {
  FAIL_MTU_BYTES,
  FAIL_MTU_PEER,
  FAIL_WORDS,
  MAX_PEERS,
  MAX_PORTS,
  PORT_HOST,
  PORT_UNDERLAY,
  RX_CSUM,
  RX_FLAGS,
  RX_GSO_SIZE,
  RX_LENGTH,
  RX_OFFSET,
  RX_PORT,
  RX_SRC_ADDR,
  RX_TOS,
  RX_WORDS,
  TX_CSUM,
  TX_FLAGS,
  TX_GSO_SIZE,
  TX_HASH,
  TX_L4,
  TX_LENGTH,
  TX_OFFSET,
  TX_PEER,
  TX_PORT,
  TX_TOS,
  TX_WORDS,
} = descriptors
const { AT_BYTES, AT_DESCRIPTOR, FILLED, ORIGIN, RECEIVED, SCRATCH_END, SCRATCH_START, TRIES, TX_DESCRIPTORS } =
  batchMemory
const { COUNT_ANSWERS, COUNT_BYTES, COUNT_DROPS, COUNT_PACKETS, COUNTER_SLOTS, FROM_HOST, FROM_PEER, FROM_POD } =
  protocol
const { ANSWER, DROP, HOST, TO_PEER, TO_POD, indexOf, kindOf, toPeer, toPod } = verdicts
const { fromHost } = hostEntrance
const { fromPeer } = peerEntrance
const { fromPod } = podEntrance
const { flowHash, HEADROOM_BYTES, Packet } = slot
const { bytesAtHand } = batchMemory
const { originOfPeer } = quarantine
type Packet = slot.Packet
type BatchMemory = batchMemory.BatchMemory
type Verdict = verdicts.Verdict

/** Of the largest packet over the smallest path (552 bytes, without the envelope). */
const MAX_FRAGMENTS = 160
/** Changes nothing: V8 then knows that an index and an offset make no more than it can count to. */
const INDEX_MASK = 0xffff
/** HEADROOM_BYTES, and the next address divisible by 4 that is not less. */
const HEADROOM = (HEADROOM_BYTES + 3) & ~3

/** ICMP errors to one pod, to the host, or to one peer: as many as a traceroute or a probe of path MTUs asks for. */
const ANSWERS_PER_SECOND = 100
const ANSWERS_BURST = 200
/** Every origin has a bucket: the ports, then the peers. */
const ORIGINS = MAX_PORTS + MAX_PEERS

/** Which drop reason stands for which of the addon's failure counters. */
const FAILURE_REASONS: readonly number[] = [
  DROP_SOCKET_FULL,
  DROP_UNDERLAY_TOO_BIG,
  DROP_PEER_UNREACHABLE,
  DROP_DEVICE_REFUSED,
  DROP_BAD_OFFLOAD,
]

export class Batch {
  readonly failures = new Int32Array(FAIL_WORDS)
  declare private readonly memory: BatchMemory
  declare private readonly rx: Int32Array
  declare private readonly tx: Int32Array
  declare private readonly progress: Int32Array
  declare private readonly quarantine: Uint8Array
  declare private readonly packet: Packet
  /** What the path makes itself. */
  declare private readonly made: Packet
  readonly #answerBuckets = new TokenBuckets(ORIGINS, ANSWERS_PER_SECOND, ANSWERS_BURST)
  declare private counters: Float64Array
  declare private readonly send: (count: number) => void
  readonly #learned = new PeerMemory()
  declare private tables: Tables
  #nowMs = 0
  #filled = 0
  #scratchAt = SCRATCH_START

  /** `send` sends the first `count` transmit descriptors and counts what failed in `failures`. */
  constructor(tables: Tables, counters: Float64Array, memory: BatchMemory, send: (count: number) => void) {
    this.countIn(counters)
    this.memory = memory
    this.rx = memory.rx
    this.tx = memory.tx
    this.progress = memory.progress
    this.quarantine = memory.quarantine
    this.packet = new Packet(memory.arena)
    this.made = new Packet(memory.arena)
    this.#filled = memory.progress[FILLED]!
    this.tables = tables
    this.send = send
  }

  /** From now on packets are decided by these tables, and by what was learned about the peers. */
  adopt(tables: Tables, nowMs: number): void {
    this.tables = tables
    this.#learned.apply(tables.peers, nowMs)
  }

  /** From now on packets are counted there. */
  countIn(counters: Float64Array): void {
    if (counters.length < COUNTER_SLOTS) throw new Error('too few counters')
    this.counters = counters
  }

  /** A batch of so many receive descriptors is at hand, none of it done. */
  begin(received: number): void {
    const progress = this.progress
    progress[AT_DESCRIPTOR] = progress[AT_BYTES] = progress[TRIES] = 0
    progress[RECEIVED] = received
  }

  /** Takes what is left of the batch through the path and sends what is to be delivered. `nowMs`: the machine's monotonic clock. */
  run(nowMs: number): void {
    const rx = this.rx
    const progress = this.progress
    this.#nowMs = nowMs
    this.#learned.expire(this.tables.peers, nowMs)
    this.tables.flows.tick(nowMs)
    for (let i = progress[AT_DESCRIPTOR]!; i < progress[RECEIVED]!; i++) {
      const port = rx[i * RX_WORDS + RX_PORT]!
      if (port === PORT_UNDERLAY) this.#fromUnderlay(i)
      else if (progress[AT_BYTES] === 0) this.#fromTun(i, port)
      progress[AT_BYTES] = 0
      progress[AT_DESCRIPTOR] = i + 1
    }
    this.#flush()
  }

  #fromTun(descriptor: number, port: number): void {
    const at = (descriptor * RX_WORDS) & INDEX_MASK
    const rx = this.rx
    const packet = this.packet
    const flags = rx[at + RX_FLAGS]!
    const checksum = rx[at + RX_CSUM]!
    const length = rx[at + RX_LENGTH]!
    if (this.#enter(port === PORT_HOST ? FROM_HOST : FROM_POD, length, port)) {
      packet.set(rx[at + RX_OFFSET]!, length)
      packet.checksum = flags & 0xff
      packet.gsoType = flags >>> 8
      packet.gsoSizeBytes = rx[at + RX_GSO_SIZE]!
      packet.checksumStart = checksum & 0xffff
      packet.checksumOffset = checksum >>> 16
      if (port === PORT_HOST) this.#carryOut(fromHost(packet, this.tables), HOST)
      else this.#carryOut(fromPod(packet, port, this.tables), toPod(port))
    }
    this.#leave(length)
  }

  /** A GRO train is many packets of one sender: each is decided alone. */
  #fromUnderlay(descriptor: number): void {
    const at = (descriptor * RX_WORDS) & INDEX_MASK
    const rx = this.rx
    const packet = this.packet
    const progress = this.progress
    const a = at + RX_SRC_ADDR
    const outerTos = rx[at + RX_TOS]!
    const peer = this.tables.peers.lookup(rx[a]!, rx[a + 1]!, rx[a + 2]!, rx[a + 3]!)
    const origin = originOfPeer(peer)
    const start = rx[at + RX_OFFSET]!
    // An empty datagram holds no packet, but somebody sent it.
    if (rx[at + RX_LENGTH] === 0) this.counters[COUNT_DROPS + DROP_MALFORMED_VXLAN]!++
    while (progress[AT_BYTES]! < rx[at + RX_LENGTH]!) {
      const length = bytesAtHand(this.memory)
      if (this.#enter(FROM_PEER, length, origin)) {
        packet.set(start + progress[AT_BYTES]!, length)
        packet.outerTos = outerTos
        this.#carryOut(fromPeer(packet, peer, this.tables), toPeer(peer))
      }
      this.#leave(length)
    }
  }

  /**
   * From here on the packet is at hand: what kills the worker now was this one. It is counted at its first try. False where
   * nothing is taken from its origin now.
   */
  #enter(entrance: number, length: number, origin: number): boolean {
    this.progress[ORIGIN] = origin
    if (++this.progress[TRIES]! === 1) {
      this.counters[COUNT_PACKETS + entrance]!++
      this.counters[COUNT_BYTES + entrance]! += length
    }
    if (this.quarantine[origin] === 0) return true
    this.counters[COUNT_DROPS + DROP_POISON]!++
    return false
  }

  /** The packet is done: all that became of it waits in transmit descriptors, or is sent. */
  #leave(length: number): void {
    const progress = this.progress
    progress[FILLED] = this.#filled
    progress[AT_BYTES]! += length
    progress[TRIES] = 0
  }

  /** `origin` is where the packet came from, as a verdict: answers go back there. */
  #carryOut(verdict: Verdict, origin: Verdict): void {
    const kind = kindOf(verdict)
    if (kind === DROP) {
      this.counters[COUNT_DROPS + indexOf(verdict)]!++
      if (isAnswered(this.packet, indexOf(verdict), this.tables)) this.#answer(indexOf(verdict), origin)
    } else if (kind === ANSWER) this.#answerNeighbour(origin)
    else if (this.packet.fragmentBytes !== 0) this.#fragment(verdict)
    else this.#emit(this.packet, verdict)
  }

  #answer(reason: number, origin: Verdict): void {
    if (!this.#mayAnswer(origin)) return
    const made = this.made
    made.at = this.#reserve(ANSWER_BYTES, 1)
    answer(this.packet, reason, this.tables, made, origin === HOST)
    if (kindOf(origin) === TO_PEER) encapsulate(made, indexOf(origin), this.tables)
    this.#emit(made, origin)
    this.counters[COUNT_ANSWERS]!++
  }

  /** The one who asks for our MAC says its own, as the frame's source: the answer goes there, and all that follows. */
  #answerNeighbour(origin: Verdict): void {
    if (!this.#mayAnswer(origin)) return
    const { view, at } = this.packet
    const frame = at - ethernet.HEADER_LEN
    const peer = indexOf(origin)
    const { peers } = this.tables
    // A polder's MAC follows from its range: one that asks is somebody else with its address.
    if (peers.isForeign(peer)) {
      this.#learned.learnMac(peers, peer, ethernet.srcAddrHigh(view, frame), ethernet.srcAddrLow(view, frame))
    }
    const made = this.made
    made.at = this.#reserve(NEIGHBOUR_ANSWER_BYTES, 1)
    answerNeighbour(this.packet, this.tables, made)
    encapsulate(made, peer, this.tables)
    this.#emit(made, origin)
  }

  /** How often the node speaks to one pod, to the host, to one peer. */
  #mayAnswer(origin: Verdict): boolean {
    const party = kindOf(origin) === TO_PEER ? MAX_PORTS + indexOf(origin) : portOf(origin)
    return this.#answerBuckets.take(party, this.#nowMs)
  }

  #fragment(verdict: Verdict): void {
    const packet = this.packet
    const made = this.made
    finishChecksum(packet)
    made.at = this.#reserve(fragmentsBytes(packet), MAX_FRAGMENTS)
    for (let done = 0; done < ipPayloadBytes(packet); ) {
      done = cut(packet, done, made)
      this.#emit(made, verdict)
      made.at = made.end + HEADROOM
    }
  }

  /** Where `bytes` bytes and their headroom may be written; what waits is sent first where there is no room for them. */
  #reserve(bytes: number, descriptors: number): number {
    const full = this.#scratchAt + HEADROOM + bytes > SCRATCH_END || this.#filled + descriptors > TX_DESCRIPTORS
    if (full) this.#flush()
    const at = this.#scratchAt + HEADROOM
    this.#scratchAt = at + bytes
    return at
  }

  #emit(packet: Packet, verdict: Verdict): void {
    const tx = this.tx
    const at = (this.#filled * TX_WORDS) & INDEX_MASK
    const toPeer = kindOf(verdict) === TO_PEER
    tx[at + TX_PORT] = toPeer ? PORT_UNDERLAY : portOf(verdict)
    tx[at + TX_OFFSET] = packet.at
    tx[at + TX_LENGTH] = packet.length
    tx[at + TX_FLAGS] = packet.checksum | (packet.gsoType << 8)
    tx[at + TX_GSO_SIZE] = packet.gsoSizeBytes
    tx[at + TX_CSUM] = packet.checksumStart | (packet.checksumOffset << 16)
    tx[at + TX_PEER] = toPeer ? indexOf(verdict) : 0
    tx[at + TX_L4] = packet.l4 === 0 || packet.isFragment ? 0 : (packet.l4 - packet.at) | (packet.protocol << 16)
    tx[at + TX_HASH] = toPeer ? flowHash(packet) : 0
    tx[at + TX_TOS] = toPeer ? packet.outerTos : 0
    if (++this.#filled === TX_DESCRIPTORS) this.#flush()
  }

  #flush(): void {
    this.#scratchAt = SCRATCH_START
    const filled = this.#filled
    if (filled === 0) return
    this.#filled = this.progress[FILLED] = 0
    this.send(filled)
    this.#takeFailures()
  }

  #takeFailures(): void {
    const { failures } = this
    for (let i = 0; i < FAILURE_REASONS.length; i++) {
      const failed = failures[i]!
      if (failed === 0) continue
      this.counters[COUNT_DROPS + FAILURE_REASONS[i]!]! += failed
      failures[i] = 0
    }
    const peer = failures[FAIL_MTU_PEER]! - 1
    if (peer === -1) return
    this.#learned.learnMtu(this.tables.peers, peer, failures[FAIL_MTU_BYTES]!, this.#nowMs)
    failures[FAIL_MTU_PEER] = 0
  }
}

/** The TUN that a verdict to a pod or to the host means. */
const portOf = (verdict: Verdict): number => {
  return kindOf(verdict) === TO_POD ? indexOf(verdict) : PORT_HOST
}
