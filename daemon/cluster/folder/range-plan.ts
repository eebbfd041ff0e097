/**
 * How the cluster's pod ranges are cut into node ranges: node range n is the nth part of each of them, the same n for
 * both families (range 3 of 10.244.0.0/16 and fd00:10:244::/48 is 10.244.3.0/24 and fd00:10:244:3::/64). Pure.
 */
import { type Cidr, contains, formatCidr, overlap, parseCidr, subnet } from '../../config/cidr.ts'

/** The part of Config that says how ranges are cut. */
export interface RangeOptions {
  podCIDRs: string[]
  nodeMaskSizeIPv4: number
  nodeMaskSizeIPv6: number
}

export class RangePlan {
  /** How many node ranges there are: as many as the smaller family has. */
  readonly count: number
  readonly #pools: { pool: Cidr; prefixLength: number }[]

  constructor(options: RangeOptions) {
    this.#pools = options.podCIDRs.map((text) => {
      const pool = parseCidr(text)
      return { pool, prefixLength: pool.family === 4 ? options.nodeMaskSizeIPv4 : options.nodeMaskSizeIPv6 }
    })
    this.count = Math.min(
      ...this.#pools.map(({ pool, prefixLength }) => 2 ** Math.min(prefixLength - pool.prefixLength, 52)),
    )
  }

  range(number: number): string[] {
    return this.#pools.map(({ pool, prefixLength }) => formatCidr(subnet(pool, prefixLength, number)))
  }

  /** From 1 upwards, 0 last: its addresses look like the cluster's own network address. */
  *numbers(): Iterable<number> {
    for (let number = 1; number < this.count; number++) yield number
    yield 0
  }

  /** The number of exactly these ranges; undefined where they were not cut by this plan. */
  numberOf(ranges: readonly string[]): number | undefined {
    const first = ranges[0]
    if (first === undefined) return undefined
    const inner = parseCidr(first)
    const found = this.#pools.find(({ pool }) => contains(pool, inner))
    if (found === undefined || found.prefixLength !== inner.prefixLength) return undefined
    const hostBits = BigInt((inner.family === 4 ? 32 : 128) - inner.prefixLength)
    const number = Number((inner.first - found.pool.first) >> hostBits)
    const same = number < this.count && [...this.range(number)].sort().join() === [...ranges].sort().join()
    return same ? number : undefined
  }

  /** Whether a range lies inside one of the cluster's. */
  covers(range: string): boolean {
    const inner = parseCidr(range)
    return this.#pools.some(({ pool }) => contains(pool, inner))
  }
}

/** The first pair of ranges, one of each list, that share addresses. */
export function firstOverlap(ours: readonly string[], theirs: readonly string[]): [string, string] | undefined {
  for (const our of ours) {
    for (const their of theirs) {
      if (overlap(parseCidr(our), parseCidr(their))) return [our, their]
    }
  }
  return undefined
}
