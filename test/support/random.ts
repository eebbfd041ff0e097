/** Random numbers of a seed that is printed: TEST_POLDER_SEED=N repeats them. Mulberry32, good enough for moments. */
import { randomInt } from 'node:crypto'

export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  static fromEnvironment(): Random {
    const seed = Number(process.env['TEST_POLDER_SEED'] ?? randomInt(2 ** 31))
    console.log(`TEST_POLDER_SEED=${seed}`)
    return new Random(seed)
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least)
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.next() * from.length)]!
  }
}
