/**
 * The flow table (connection tracking): every conversation that passes, found by either direction's tuple in one
 * lookup. It lies in memory that outlives the process (flow-layout.ts); this is its only writer. Nothing is allocated
 * per packet; what a packet means for its flow is decided in path/flow.ts and path/tcp-flow.ts.
 *
 * Bounds: `capacity` flows, or as many as there is memory for. Expiry is a hand that goes round all entries, a few in every batch, whatever the load. Where
 * the table is full, a flow that is not assured makes room, one in which only one side has spoken, say; where none is
 * found, the new flow is refused. Half of the table may be assured to one source, so that none can shut out the others.
 *
 * A reference names a flow and a direction: entry × 2, + 1 for replies. It holds until the next open, close or expire.
 */
import { FlowHash, FlowKey } from '../flow-key.ts'
import type { Packet } from '../packet.ts'
import * as layout from './flow-layout.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const {
  ASSURED,
  COUNTERS,
  CREATED,
  ENTRY_WORDS,
  EXPIRES,
  HEADER_WORDS,
  H_BUCKET_MASK,
  H_CAPACITY,
  H_COUNT,
  H_EVICT,
  H_EVICTED,
  H_EXPIRED,
  H_FREE,
  H_HIGH_WATER,
  H_MUTATING,
  H_OPENED,
  H_REFUSED,
  H_SEED,
  H_SWEEP,
  LIFE,
  NEXT,
  ORIGIN,
  ORIGIN_ADDRESS,
  PORTS,
  PROTOCOL,
  STATUS,
  TUPLE_WORDS,
} = layout

export type FlowRef = number
const NONE: FlowRef = -1
/** No flow has this tuple. */
export const NO_FLOW = NONE

const REPLY = 1
/** Changes nothing: no index is larger. V8 then knows that an index and an offset make no more than it can count to. */
const INDEX_MASK = 0x3fffffff

/** Sees to it that there is memory for so many bytes from there on; false where there is none. */
export type Reserve = (fromByte: number, bytes: number) => boolean

/** How many entries become usable at a time, */
const GROW_ENTRIES = 256
/** and how long after a refusal more are asked for, in tenths of a second. */
const GROW_PAUSE = 10
/** How many entries are looked at for one that may make room. */
const EVICT_LOOKS = 256
/** Sources are counted by hash: neighbours in one slot share the allowance. */
const SOURCE_SLOTS = 4096
const DECIDED_WORDS = 4
/** The hand goes round in this time, */
const SWEEP_MS = 5_000
/** at least so many entries at a time, and at most. */
const SWEEP_MIN = 16
const SWEEP_MAX = 4096

export class FlowTable {
  declare readonly words: Int32Array
  declare readonly capacity: number
  declare private readonly doubles: Float64Array
  declare private readonly hash: FlowHash
  /** A hash's bits above these are its bucket's number. */
  declare private readonly shift: number
  /** Where buckets and entries begin. */
  declare private readonly buckets: number
  declare private readonly entries: number
  /** How many flows are assured to each. */
  readonly #bySource = new Int32Array(SOURCE_SLOTS)
  declare private readonly perSource: number
  /** What was decided for each direction of each flow: by which tables, from where, and the verdict. */
  declare private readonly decisions: Int32Array
  #generation = 1
  declare private readonly reserve: Reserve
  /** Entries for which there is memory. */
  declare private usable: number
  /** Where there was none, when it is asked for again. */
  #growsAfter = 0
  declare private chance: number
  #now = 0
  #sweptMs = 0

  /** `buffer` holds a whole and consistent table: see flow-recovery.ts. */
  constructor(buffer: ArrayBufferLike, reserve: Reserve = () => true) {
    this.reserve = reserve
    this.words = new Int32Array(buffer)
    this.doubles = new Float64Array(buffer)
    this.capacity = this.words[H_CAPACITY]!
    const buckets = this.words[H_BUCKET_MASK]! + 1
    this.hash = new FlowHash(this.words[H_SEED]!)
    this.shift = 32 - Math.log2(buckets)
    this.buckets = HEADER_WORDS
    this.entries = HEADER_WORDS + buckets
    this.perSource = Math.max(1, this.capacity >> 1)
    this.chance = this.words[H_SEED]! | 1
    this.decisions = new Int32Array(this.capacity * 2 * DECIDED_WORDS)
    this.usable = this.words[H_HIGH_WATER]!
    for (let entry = 0; entry < this.usable; entry++) {
      const at = this.entries + entry * ENTRY_WORDS
      if (isLive(this.words, at)) this.#countAssured(at, 1)
    }
  }

  get size(): number {
    return this.words[H_COUNT]!
  }

  /** Now, in tenths of a second. */
  get now(): number {
    return this.#now
  }

  /** Where the words of a flow begin. */
  at(ref: FlowRef): number {
    return (this.entries + (ref >> 1) * ENTRY_WORDS) & INDEX_MASK
  }

  /** The flow and direction of this tuple, or NO_FLOW. One whose time is over is forgotten on the spot. */
  find(key: FlowKey): FlowRef {
    const { words } = this
    key.hash = this.hash.of(key)
    let next = words[this.#bucket(key.hash)]!
    while (next !== 0) {
      const ref = next - 1
      const tuple = this.at(ref) + (ref & 1) * TUPLE_WORDS
      if (words[tuple + PORTS] === key.ports && matches(words, tuple, key)) return this.#ifAlive(ref)
      next = words[tuple + NEXT]!
    }
    return NONE
  }

  #ifAlive(ref: FlowRef): FlowRef {
    if (this.words[this.at(ref) + EXPIRES]! > this.#now) return ref
    this.#expire(ref)
    return NONE
  }

  /**
   * What was decided for an earlier packet of this direction that came from `origin`, as long as the tables are the
   * same; 0: nothing was.
   */
  decided(ref: FlowRef, origin: number): number {
    const at = (ref * DECIDED_WORDS) & INDEX_MASK
    return this.decisions[at] === this.#generation && this.decisions[at + 1] === origin ? this.decisions[at + 2]! : 0
  }

  decide(ref: FlowRef, origin: number, verdict: number): void {
    const at = (ref * DECIDED_WORDS) & INDEX_MASK
    this.decisions[at] = this.#generation
    this.decisions[at + 1] = origin
    this.decisions[at + 2] = verdict
  }

  /** Other tables: everything is decided anew. */
  forgetDecisions(): void {
    this.#generation++
  }

  /** Whether the tables have changed since something was decided for this direction. */
  isStale(ref: FlowRef): boolean {
    return this.decisions[ref * DECIDED_WORDS] !== this.#generation
  }

  /** A whole number below `count`, by chance (xorshift32). */
  random(count: number): number {
    let x = this.chance
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.chance = x
    return Math.floor(((x >>> 0) * count) / 2 ** 32)
  }

  /** Opens the flow whose first packet has the tuple `original`, which none has yet; NO_FLOW: there is no room. */
  open(original: FlowKey, reply: FlowKey): FlowRef {
    const { words } = this
    const entry = this.#takeEntry()
    if (entry === -1) {
      this.doubles[H_REFUSED >> 1]!++
      return NONE
    }
    const ref = entry << 1
    const at = this.at(ref)
    writeTuple(words, at, original)
    writeTuple(words, at + TUPLE_WORDS, reply)
    words[at + STATUS] = words[at + ORIGIN] = 0
    // No fill(): it is a call out of V8's code, for two dozen words.
    for (let rest = at + ORIGIN_ADDRESS; rest < at + ENTRY_WORDS; rest++) words[rest] = 0
    words[at + CREATED] = words[at + EXPIRES] = this.#now
    words[at + LIFE]!++
    this.decisions[ref * DECIDED_WORDS] = this.decisions[(ref | REPLY) * DECIDED_WORDS] = 0
    this.#link(ref, this.hash.of(original))
    this.#link(ref | REPLY, this.hash.of(reply))
    words[H_COUNT]!++
    this.doubles[H_OPENED >> 1]!++
    this.#settle()
    return ref
  }

  /** Forgets the flow; whichever direction is named. */
  close(ref: FlowRef): void {
    const { words } = this
    const at = this.at(ref)
    if (!isLive(words, at)) return
    this.#unsettle()
    this.#unlink(ref & ~1)
    this.#unlink(ref | REPLY)
    words[at + LIFE]!++
    words[at + NEXT] = words[H_FREE]!
    words[H_FREE] = (ref >> 1) + 1
    words[H_COUNT]!--
    this.#countAssured(at, -1)
    this.#settle()
  }

  /** Promises the flow its place for as long as it lives; false where its source has enough of these. */
  assure(ref: FlowRef): boolean {
    const at = this.at(ref)
    if (this.#bySource[this.#sourceSlot(at)]! >= this.perSource) return false
    this.words[at + STATUS]! |= ASSURED
    this.#countAssured(at, 1)
    return true
  }

  #countAssured(at: number, by: number): void {
    if (this.words[at + STATUS]! & ASSURED) this.#bySource[this.#sourceSlot(at)]! += by
  }

  /** Counts a packet of the direction, and lets the flow live on for so long from now. */
  touch(ref: FlowRef, packet: Packet, lifetime: number): void {
    const at = this.at(ref)
    const counter = ((at + COUNTERS) >> 1) + (ref & 1) * 2
    this.doubles[counter]! += packet.gsoType === 0 ? 1 : segments(packet)
    this.doubles[counter + 1]! += packet.end - packet.at
    this.words[at + EXPIRES] = this.#now + lifetime
  }

  /**
   * Once a batch: what time it is, and a part of the round on which flows that have run out are forgotten. `nowMs` is
   * the machine's monotonic clock.
   */
  tick(nowMs: number): void {
    this.#now = Math.floor(nowMs / 100)
    const elapsed = Math.min(SWEEP_MS, Math.max(0, nowMs - this.#sweptMs))
    this.#sweptMs = nowMs
    const all = this.words[H_HIGH_WATER]!
    this.#sweep(Math.min(all, Math.max(SWEEP_MIN, Math.min(SWEEP_MAX, Math.ceil((all * elapsed) / SWEEP_MS)))))
  }

  #sweep(looks: number): void {
    const { words } = this
    let entry = words[H_SWEEP]!
    for (let i = 0; i < looks; i++, entry++) {
      if (entry >= words[H_HIGH_WATER]!) entry = 0
      const at = this.entries + entry * ENTRY_WORDS
      if (isLive(words, at) && words[at + EXPIRES]! <= this.#now) this.#expire(entry << 1)
    }
    words[H_SWEEP] = entry
  }

  #expire(ref: FlowRef): void {
    this.close(ref)
    this.doubles[H_EXPIRED >> 1]!++
  }

  /** From the free list, from what was never used, or from a flow that makes room; -1: none. Leaves MUTATING set. */
  #takeEntry(): number {
    const { words } = this
    if (words[H_FREE] === 0 && words[H_HIGH_WATER]! >= this.usable && !this.#grow() && !this.#evict()) return -1
    this.#unsettle()
    const free = words[H_FREE]!
    if (free === 0) return words[H_HIGH_WATER]!++
    words[H_FREE] = words[this.at((free - 1) << 1) + NEXT]!
    return free - 1
  }

  /** Some more entries become usable, where the table is not at its capacity and there is memory for them. */
  #grow(): boolean {
    if (this.usable >= this.capacity || this.#now < this.#growsAfter) return false
    const entries = Math.min(GROW_ENTRIES, this.capacity - this.usable)
    const from = (this.entries + this.usable * ENTRY_WORDS) * 4
    if (this.reserve(from, entries * ENTRY_WORDS * 4)) {
      this.usable += entries
      return true
    }
    this.#growsAfter = this.#now + GROW_PAUSE
    return false
  }

  #evict(): boolean {
    const { words } = this
    if (words[H_HIGH_WATER] === 0) return false
    let entry = words[H_EVICT]!
    for (let i = 0; i < EVICT_LOOKS; i++) {
      entry = entry + 1 >= words[H_HIGH_WATER]! ? 0 : entry + 1
      const at = this.entries + entry * ENTRY_WORDS
      if (words[at + STATUS]! & ASSURED && words[at + EXPIRES]! > this.#now) continue
      words[H_EVICT] = entry
      this.close(entry << 1)
      this.doubles[H_EVICTED >> 1]!++
      return true
    }
    words[H_EVICT] = entry
    return false
  }

  #link(ref: FlowRef, hash: number): void {
    const { words } = this
    const tuple = this.at(ref) + (ref & 1) * TUPLE_WORDS
    const bucket = this.#bucket(hash)
    words[tuple + NEXT] = words[bucket]!
    words[bucket] = ref + 1
  }

  #unlink(ref: FlowRef): void {
    const { words } = this
    const tuple = this.at(ref) + (ref & 1) * TUPLE_WORDS
    let before = this.#bucket(this.#hashAt(tuple))
    while (words[before] !== ref + 1) {
      const other = words[before]! - 1
      if (other < 0) return
      before = this.at(other) + (other & 1) * TUPLE_WORDS + NEXT
    }
    words[before] = words[tuple + NEXT]!
  }

  /** Where the chain begins that holds the tuples with this hash. */
  #bucket(hash: number): number {
    return (this.buckets + (hash >>> this.shift)) & INDEX_MASK
  }

  #hashAt(tuple: number): number {
    readTuple(this.words, tuple, scratch)
    return this.hash.of(scratch)
  }

  #sourceSlot(at: number): number {
    const { words } = this
    return sourceSlot(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!)
  }

  #unsettle(): void {
    Atomics.store(this.words, H_MUTATING, 1)
  }

  #settle(): void {
    Atomics.store(this.words, H_MUTATING, 0)
  }

  /** After a writer that ended in the middle: the index anew, from the entries that are whole. */
  reindex(): void {
    const { words } = this
    this.#unsettle()
    words.fill(0, this.buckets, this.entries)
    this.#bySource.fill(0)
    words[H_FREE] = words[H_COUNT] = 0
    for (let entry = words[H_HIGH_WATER]! - 1; entry >= 0; entry--) {
      const at = this.entries + entry * ENTRY_WORDS
      if (isLive(words, at) && words[at + PROTOCOL] === words[at + TUPLE_WORDS + PROTOCOL]) {
        this.#link(entry << 1, this.#hashAt(at))
        this.#link((entry << 1) | REPLY, this.#hashAt(at + TUPLE_WORDS))
        words[H_COUNT]!++
        this.#countAssured(at, 1)
      } else {
        words[at + LIFE] = (words[at + LIFE]! + 1) & ~1
        words[at + NEXT] = words[H_FREE]!
        words[H_FREE] = entry + 1
      }
    }
    this.#settle()
  }
}

export function isLive(words: Int32Array, at: number): boolean {
  return (words[at + LIFE]! & 1) === 1
}

/** Whether the tuple at `at` is this one, ports aside. Where it is not, they nearly always differ: the rest in one go. */
const matches = (words: Int32Array, at: number, key: FlowKey): boolean => {
  const src = (words[at]! ^ key.src0) | (words[at + 1]! ^ key.src1) | (words[at + 2]! ^ key.src2)
  const dst = (words[at + 4]! ^ key.dst0) | (words[at + 5]! ^ key.dst1) | (words[at + 6]! ^ key.dst2)
  const last = (words[at + 3]! ^ key.src3) | (words[at + 7]! ^ key.dst3) | (words[at + PROTOCOL]! ^ key.protocol)
  return (src | dst | last) === 0
}

function writeTuple(words: Int32Array, at: number, key: FlowKey): void {
  words[at] = key.src0
  words[at + 1] = key.src1
  words[at + 2] = key.src2
  words[at + 3] = key.src3
  words[at + 4] = key.dst0
  words[at + 5] = key.dst1
  words[at + 6] = key.dst2
  words[at + 7] = key.dst3
  words[at + PORTS] = key.ports
  words[at + PROTOCOL] = key.protocol
}

export function readTuple(words: Int32Array, at: number, key: FlowKey): void {
  key.src0 = words[at]!
  key.src1 = words[at + 1]!
  key.src2 = words[at + 2]!
  key.src3 = words[at + 3]!
  key.dst0 = words[at + 4]!
  key.dst1 = words[at + 5]!
  key.dst2 = words[at + 6]!
  key.dst3 = words[at + 7]!
  key.ports = words[at + PORTS]!
  key.protocol = words[at + PROTOCOL]!
}

const scratch = new FlowKey()

function sourceSlot(w0: number, w1: number, w2: number, w3: number): number {
  const h = Math.imul(w3 ^ Math.imul(w0 ^ w1, 0x85ebca6b) ^ w2, 0x9e3779b1)
  return (h ^ (h >>> 15)) & (SOURCE_SLOTS - 1)
}

/** How many packets a super-packet stands for. */
function segments(packet: Packet): number {
  return Math.max(1, Math.ceil((packet.end - packet.payload) / packet.gsoSizeBytes))
}
