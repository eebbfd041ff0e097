/**
 * Where an address leads: longest prefix match, both families in one table. One hash map for each prefix length that
 * occurs, the longest first. A node knows few lengths (its own gateway, node addresses, pod ranges, cluster ranges,
 * default), so a lookup is a handful of probes, whatever the number of routes.
 *
 * A route's value is a verdict: to the host, to a peer, or a drop with its reason.
 */
import { maskWords, parsePrefix } from '../address.ts'
import type { Verdict } from '../path/verdict.ts'
import { AddressMap } from './address-map.ts'

export interface RouteEntry {
  /** `10.244.1.0/24`, `fd00::/64`, `0.0.0.0/0`, or a bare address. */
  readonly prefix: string
  readonly verdict: Verdict
}

/** What is posted to the worker: prefix lengths, longest first, and the map of each. */
export interface RouteBuffers {
  readonly lengths: readonly number[]
  readonly maps: readonly SharedArrayBuffer[]
}

export class RouteTable {
  declare private readonly maps: readonly AddressMap[]
  /** Four mask words for each length. */
  declare private readonly masks: Int32Array

  constructor(buffers: RouteBuffers) {
    this.maps = buffers.maps.map((buffer) => new AddressMap(buffer))
    this.masks = new Int32Array(buffers.lengths.flatMap((length) => maskWords(length)))
  }

  static build(routes: readonly RouteEntry[]): RouteBuffers {
    const byLength = new Map<number, { words: readonly [number, number, number, number]; value: number }[]>()
    for (const { prefix, verdict } of routes) {
      const { length, words } = parsePrefix(prefix)
      const entries = byLength.get(length) ?? []
      entries.push({ words, value: verdict })
      byLength.set(length, entries)
    }
    const lengths = [...byLength.keys()].sort((a, b) => b - a)
    return { lengths, maps: lengths.map((length) => AddressMap.of(byLength.get(length)!).buffer) }
  }

  /** The verdict of the longest prefix that holds the address, or -1. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    const masks = this.masks
    const maps = this.maps
    for (let i = 0, m = 0; i < maps.length; i++, m += 4) {
      const found = maps[i]!.lookup(w0 & masks[m]!, w1 & masks[m + 1]!, w2 & masks[m + 2]!, w3 & masks[m + 3]!)
      if (found !== -1) return found
    }
    return -1
  }
}
