/**
 * A hash map from address, port and protocol to a number: where packets for services are found. Main changes its own in
 * place and hands out copies (service-builder.ts); the path reads such a copy. An address alone is a key too, with a port
 * and protocol of 0.
 *
 * Layout in 32-bit words, ENTRY_WORDS an entry: w0 w1 w2 w3 port<<16|protocol value+1. Open addressing with linear
 * probing, at most two thirds full; what is removed is closed up, so that no marks are left behind.
 */
import type { AddressWords } from '../address.ts'

const ENTRY_WORDS = 6
const WHAT = 4
/** The value + 1; 0: the entry is free. */
const VALUE = 5
const ENTRIES_MIN = 8

function hash(w0: number, w1: number, w2: number, w3: number, what: number): number {
  let h = Math.imul(w3 ^ what, 0x85ebca6b)
  h = Math.imul(h ^ w1 ^ (h >>> 13), 0xc2b2ae35)
  h = Math.imul(h ^ w2 ^ (h >>> 15), 0x9e3779b1)
  h = Math.imul(h ^ w0 ^ (h >>> 14), 0x27d4eb2f)
  return h ^ (h >>> 16)
}

export class FrontendMap {
  #words: Int32Array
  #mask: number
  #size = 0

  /** Of a copy that was handed out; without one, an empty map to fill. */
  constructor(buffer?: SharedArrayBuffer) {
    this.#words = buffer === undefined ? new Int32Array(ENTRIES_MIN * ENTRY_WORDS) : new Int32Array(buffer)
    this.#mask = this.#words.length / ENTRY_WORDS - 1
  }

  /** The value, or -1. `what`: port << 16 | protocol. */
  find(w0: number, w1: number, w2: number, w3: number, what: number): number {
    const words = this.#words
    const mask = this.#mask
    for (let slot = hash(w0, w1, w2, w3, what) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * ENTRY_WORDS
      if (words[at + VALUE] === 0) return -1
      if (words[at + 3] !== w3 || words[at + WHAT] !== what) continue
      if (words[at + 2] === w2 && words[at + 1] === w1 && words[at] === w0) return words[at + VALUE]! - 1
    }
  }

  set(key: AddressWords, what: number, value: number): void {
    if ((this.#size + 1) * 3 > (this.#mask + 1) * 2) this.#grow()
    const at = this.#slotOf(key, what) * ENTRY_WORDS
    if (this.#words[at + VALUE] === 0) this.#size++
    this.#words.set(key, at)
    this.#words[at + WHAT] = what
    this.#words[at + VALUE] = value + 1
  }

  remove(key: AddressWords, what: number): void {
    const words = this.#words
    const mask = this.#mask
    let free = this.#slotOf(key, what)
    if (words[free * ENTRY_WORDS + VALUE] === 0) return
    this.#size--
    for (let slot = (free + 1) & mask; words[slot * ENTRY_WORDS + VALUE] !== 0; slot = (slot + 1) & mask) {
      // It may move back to the gap unless its search begins behind that.
      if (((slot - this.#homeOf(slot)) & mask) < ((slot - free) & mask)) continue
      words.copyWithin(free * ENTRY_WORDS, slot * ENTRY_WORDS, (slot + 1) * ENTRY_WORDS)
      free = slot
    }
    words.fill(0, free * ENTRY_WORDS, (free + 1) * ENTRY_WORDS)
  }

  copy(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(this.#words.byteLength)
    new Int32Array(buffer).set(this.#words)
    return buffer
  }

  /** Where the key is, or the free place where it belongs. */
  #slotOf([w0, w1, w2, w3]: AddressWords, what: number): number {
    const words = this.#words
    for (let slot = hash(w0, w1, w2, w3, what) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * ENTRY_WORDS
      if (words[at + VALUE] === 0) return slot
      if (words[at + 3] !== w3 || words[at + WHAT] !== what) continue
      if (words[at + 2] === w2 && words[at + 1] === w1 && words[at] === w0) return slot
    }
  }

  #homeOf(slot: number): number {
    const words = this.#words
    const at = slot * ENTRY_WORDS
    return hash(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!, words[at + WHAT]!) & this.#mask
  }

  #grow(): void {
    const before = this.#words
    this.#words = new Int32Array(before.length * 2)
    this.#mask = this.#words.length / ENTRY_WORDS - 1
    for (let at = 0; at < before.length; at += ENTRY_WORDS) {
      if (before[at + VALUE] === 0) continue
      const key = [before[at]!, before[at + 1]!, before[at + 2]!, before[at + 3]!] as const
      this.#words.set(before.subarray(at, at + ENTRY_WORDS), this.#slotOf(key, before[at + WHAT]!) * ENTRY_WORDS)
    }
  }
}
