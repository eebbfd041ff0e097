/**
 * Whose packets killed the worker again and again: all that comes from there is dropped for a while, as `poison`, so that
 * the others go on. An origin is a port of this node, or a peer by its place in the present tables: where peers change
 * meanwhile, another one may have that place for what is left of the while.
 */
import { MAX_PEERS, MAX_PORTS } from '../nic/descriptors.ts'

/** Ports, then what is no peer, then the peers. */
export const QUARANTINE_ORIGINS = MAX_PORTS + 1 + MAX_PEERS
const KILLS_MAX = 4
const KILLS_WITHIN_MS = 60_000
export const QUARANTINE_MS = 10_000

/** `peer`: -1 where it is none. */
export function originOfPeer(peer: number): number {
  return MAX_PORTS + 1 + peer
}

export class Quarantine {
  readonly #origins: Uint8Array
  /** When the last packets of an origin killed. */
  readonly #kills = new Map<number, number[]>()

  /** `origins` is shared with the worker, which drops where it is not 0. */
  constructor(origins: Uint8Array) {
    this.#origins = origins
  }

  /** A packet from there has killed twice. True where nothing more is taken from there for a while. */
  killed(origin: number, nowMs: number): boolean {
    for (const [other, times] of this.#kills) if (times.at(-1)! < nowMs - KILLS_WITHIN_MS) this.#kills.delete(other)
    const times = (this.#kills.get(origin) ?? []).filter((atMs) => atMs > nowMs - KILLS_WITHIN_MS)
    this.#kills.set(origin, [...times, nowMs])
    if (times.length + 1 < KILLS_MAX) return false
    this.#kills.delete(origin)
    this.#origins[origin] = 1
    setTimeout(() => {
      this.#origins[origin] = 0
    }, QUARANTINE_MS).unref()
    return true
  }
}
