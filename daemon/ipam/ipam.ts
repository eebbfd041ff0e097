/**
 * Which addresses of this node's pod ranges are in use. One host index serves both families, so that 10.244.1.5 and
 * fd00:10:244:1::5 are always the same pod.
 *
 * Indexes are taken in turn. One that was released rests for a minute, so that packets and caches that still name the
 * old pod do not reach a new one; where only resting ones are left, the one that rested longest is taken. Somebody who
 * asks for an address gets it if it is free, rested or not; the other family's comes from the same index.
 *
 * Nothing is stored here: the attachment records (daemon/attachments) hold the truth, and rebuild this at start with
 * `rest` and `reserve`.
 */
import { PolderError } from '../errors.ts'
import { addressAt, FIRST_POD_INDEX, indexOf, lastPodIndex } from './range.ts'

export { gatewayOf, natAddressOf } from './range.ts'

/** How long a released address rests while others are free. */
export const COOL_DOWN_MS = 60_000

const NEVER = -Infinity

export interface IpamOptions {
  /** The node's pod ranges, at most one a family: ['10.244.1.0/24', 'fd00:10:244:1::/64']. */
  ranges: string[]
  /** In ms since the epoch, for what rests must go on resting across a restart; may not jump (steadyNow). */
  now: () => number
}

export class Ipam {
  readonly ranges: readonly string[]
  readonly #now: () => number
  readonly #last: number
  /** By host index. */
  readonly #used: Uint8Array
  readonly #releasedAtMs: Float64Array
  #cursor = FIRST_POD_INDEX
  #freeCount: number

  constructor({ ranges, now }: IpamOptions) {
    // IPv4 first, as every list of a pod's addresses has it.
    this.ranges = [...ranges].sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')))
    this.#now = now
    this.#last = ranges.length === 0 ? 0 : Math.min(...ranges.map(lastPodIndex))
    this.#freeCount = Math.max(0, this.#last - FIRST_POD_INDEX + 1)
    this.#used = new Uint8Array(this.#last + 1)
    this.#releasedAtMs = new Float64Array(this.#last + 1).fill(NEVER)
  }

  /** How many pods can still get an address, counting those that rest. */
  get freeCount(): number {
    return this.#freeCount
  }

  /**
   * One address of each family for a new pod, IPv4 first; `wanted` names at most one a family. Throws `no-address-left`
   * or, for a wanted one that cannot be had, `address-unavailable`.
   */
  allocate(wanted: readonly string[] = []): string[] {
    const wishes = wanted.map((address) => this.#wish(address))
    const index = wishes[0]?.index ?? this.#next()
    if (index === undefined) {
      throw new PolderError(
        'no-address-left',
        `no address is left in ${this.#rangesInWords()}: ${this.#inUse()} are in use`,
        'remove pods from this node, or give nodes larger ranges (podCIDRs and nodeMaskSize in the configuration)',
      )
    }
    for (const each of wishes) this.#take(each.index)
    if (wishes.length === 0) {
      this.#take(index)
      this.#cursor = index + 1
    }
    return this.ranges.map((range) => addressAt(range, wishes.find((wish) => wish.range === range)?.index ?? index))
  }

  /** Marks addresses that a pod has already. Addresses outside the ranges are nobody's to hand out: ignored. */
  reserve(addresses: string[]): void {
    for (const index of this.#indexesOf(addresses)) {
      this.#take(index)
      this.#cursor = index + 1
    }
  }

  /** Gives back what a pod had. Giving back twice is harmless. */
  release(addresses: string[]): void {
    for (const index of this.#indexesOf(addresses)) {
      if (this.#used[index] === 0) continue
      this.#used[index] = 0
      this.#releasedAtMs[index] = this.#now()
      this.#freeCount++
    }
  }

  /** Tells of addresses that an earlier polderd released at `releasedAtMs`, and takes its turn up behind them. */
  rest(addresses: string[], releasedAtMs: number): void {
    for (const index of this.#indexesOf(addresses)) {
      // A clock that was set back must not make them rest for longer than a minute.
      this.#releasedAtMs[index] = Math.min(releasedAtMs, this.#now())
      this.#cursor = index + 1
    }
  }

  /** Where a wanted address stands, if it can be had. */
  #wish(address: string): { range: string; index: number } {
    const range = this.ranges.find((each) => indexOf(each, address) !== undefined)
    const index = range === undefined ? undefined : indexOf(range, address)
    if (range === undefined || index === undefined || index > this.#last) {
      throw unavailable(address, `is none that this node hands out of ${this.#rangesInWords()}`)
    }
    if (index < FIRST_POD_INDEX) throw unavailable(address, `is kept for the node itself in ${range}`)
    if (this.#used[index] !== 0) throw unavailable(address, 'is in use')
    return { range, index }
  }

  #rangesInWords(): string {
    return this.ranges.join(' and ') || 'no range at all'
  }

  #inUse(): number {
    return Math.max(0, this.#last - FIRST_POD_INDEX + 1) - this.#freeCount
  }

  /** The families name the same index; a set, in case a foreign record does not. */
  #indexesOf(addresses: string[]): Set<number> {
    const indexes = new Set<number>()
    for (const address of addresses) {
      for (const range of this.ranges) {
        const index = indexOf(range, address)
        if (index !== undefined && index >= FIRST_POD_INDEX && index <= this.#last) indexes.add(index)
      }
    }
    return indexes
  }

  #next(): number | undefined {
    const restedSinceMs = this.#now() - COOL_DOWN_MS
    const count = this.#last - FIRST_POD_INDEX + 1
    let oldest: number | undefined
    for (let step = 0; step < count; step++) {
      const index = FIRST_POD_INDEX + ((this.#cursor - FIRST_POD_INDEX + step) % count)
      if (this.#used[index] !== 0) continue
      const releasedAtMs = this.#releasedAtMs[index]!
      if (releasedAtMs <= restedSinceMs) return index
      if (oldest === undefined || releasedAtMs < this.#releasedAtMs[oldest]!) oldest = index
    }
    return oldest
  }

  #take(index: number): void {
    if (this.#used[index] === 0) this.#freeCount--
    this.#used[index] = 1
  }
}

function unavailable(address: string, why: string): PolderError {
  return new PolderError(
    'address-unavailable',
    `the address ${address} cannot be had: it ${why}`,
    'ask for a free address of this node (polder get pods -o wide shows those in use), or for none',
  )
}
