/**
 * A hash map from an address (four words) to a number, built once and then only read: the ground on which pods, peers
 * and routes stand. It lies in one SharedArrayBuffer, so that main builds it and the worker reads it without a copy.
 *
 * Layout in 32-bit words: [mask, count] then mask + 1 entries of six: w0 w1 w2 w3 value used. Open addressing with
 * linear probing, at most half full.
 */
const HEADER_WORDS = 2
const ENTRY_WORDS = 6

export interface AddressEntry {
  readonly words: readonly [number, number, number, number]
  readonly value: number
}

function hash(w0: number, w1: number, w2: number, w3: number): number {
  let h = Math.imul(w3 ^ (w3 >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ w1 ^ (h >>> 13), 0xc2b2ae35)
  h = Math.imul(h ^ w2 ^ (h >>> 15), 0x9e3779b1)
  h = Math.imul(h ^ w0 ^ (h >>> 14), 0x27d4eb2f)
  return h ^ (h >>> 16)
}

export class AddressMap {
  declare readonly buffer: SharedArrayBuffer
  declare private readonly words: Int32Array
  declare private readonly mask: number

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.words = new Int32Array(buffer)
    this.mask = this.words[0]!
  }

  /** A later entry for the same address replaces an earlier one. Values are 32-bit and not negative. */
  static of(entries: readonly AddressEntry[]): AddressMap {
    let capacity = 8
    while (capacity < entries.length * 2) capacity *= 2
    const buffer = new SharedArrayBuffer((HEADER_WORDS + capacity * ENTRY_WORDS) * 4)
    const words = new Int32Array(buffer)
    words[0] = capacity - 1
    for (const { words: key, value } of entries) {
      let slot = hash(...key) & (capacity - 1)
      let at = HEADER_WORDS + slot * ENTRY_WORDS
      while (words[at + 5] !== 0 && !key.every((word, i) => words[at + i] === word)) {
        slot = (slot + 1) & (capacity - 1)
        at = HEADER_WORDS + slot * ENTRY_WORDS
      }
      if (words[at + 5] === 0) words[1]!++
      words.set(key, at)
      words[at + 4] = value
      words[at + 5] = 1
    }
    return new AddressMap(buffer)
  }

  get size(): number {
    return this.words[1]!
  }

  /** The value, or -1. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    const words = this.words
    const mask = this.mask
    for (let slot = hash(w0, w1, w2, w3) & mask; ; slot = (slot + 1) & mask) {
      const at = HEADER_WORDS + slot * ENTRY_WORDS
      if (words[at + 5] === 0) return -1
      if (words[at + 3] === w3 && words[at + 2] === w2 && words[at + 1] === w1 && words[at] === w0) {
        return words[at + 4]!
      }
    }
  }
}
