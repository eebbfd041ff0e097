/**
 * Token buckets: how often each of a number of parties may do a thing. Time is an argument. A fresh bucket is full.
 */
export class TokenBuckets {
  readonly #perMs: number
  readonly #burst: number
  readonly #tokens: Float64Array
  readonly #filledAtMs: Float64Array

  constructor(parties: number, perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000
    this.#burst = burst
    this.#tokens = new Float64Array(parties).fill(burst)
    this.#filledAtMs = new Float64Array(parties)
  }

  /** Takes one token of the party; false where it has none. Time that goes backwards fills nothing. */
  take(party: number, nowMs: number): boolean {
    const elapsedMs = Math.max(0, nowMs - this.#filledAtMs[party]!)
    const tokens = Math.min(this.#burst, this.#tokens[party]! + elapsedMs * this.#perMs)
    this.#filledAtMs[party] = nowMs
    this.#tokens[party] = tokens >= 1 ? tokens - 1 : tokens
    return tokens >= 1
  }
}
