/**
 * From whatever lies in the file to a table that may be used: a fresh one, the one that a polderd left, as it is or
 * with its index made anew, or one of another size or layout, whose flows are carried over field by field.
 *
 * What belongs to another boot, or is no table at all, is no flow of ours: it begins anew. Flows that are lost are not
 * cut off for that: the data path picks up a conversation in its middle.
 */
import { FlowKey } from '../flow-key.ts'
import * as l from './flow-layout.ts'
import { FlowTable, isLive, NO_FLOW, type Reserve, readTuple } from './flows.ts'

/** What a file held: `usable` as it is, `convertible` into a table of another size or layout, or `foreign`. */
export type FlowMemory = 'usable' | 'convertible' | 'foreign'

/** Makes an empty table of memory that is all zeros, tableWords(capacity) words long. */
export function formatFlows(buffer: ArrayBufferLike, capacity: number, seed: number, boot: Int32Array): FlowTable {
  const words = new Int32Array(buffer)
  words[l.H_VERSION] = l.VERSION
  words[l.H_HEADER_WORDS] = l.HEADER_WORDS
  words[l.H_ENTRY_WORDS] = l.ENTRY_WORDS
  words[l.H_CAPACITY] = capacity
  words[l.H_BUCKET_MASK] = l.bucketsFor(capacity) - 1
  words[l.H_SEED] = seed
  words.set(boot, l.H_BOOT)
  for (const [i, [number, offset, count]] of l.FIELDS.entries()) {
    words[l.H_FIELDS + i] = (number << 16) | (offset << 8) | count
  }
  words[l.H_MAGIC] = l.MAGIC
  return new FlowTable(buffer)
}

/** A table for tests and for the library's users; nothing of it outlives the process. */
export function flowsInMemory(capacity: number, seed = 0x51f15eed): FlowTable {
  return formatFlows(new ArrayBuffer(l.tableWords(capacity) * 4), capacity, seed, new Int32Array(4))
}

/** Judges memory that an earlier polderd may have left. `boot` as it was given to formatFlows. */
export function judgeFlows(buffer: ArrayBufferLike, capacity: number, boot: Int32Array): FlowMemory {
  if (buffer.byteLength < l.HEADER_WORDS * 4) return 'foreign'
  const words = new Int32Array(buffer)
  if (words[l.H_MAGIC] !== l.MAGIC || boot.some((word, i) => words[l.H_BOOT + i] !== word)) return 'foreign'
  if (!isWhole(words)) return 'foreign'
  const ours = words[l.H_VERSION] === l.VERSION && words[l.H_ENTRY_WORDS] === l.ENTRY_WORDS
  return ours && words[l.H_CAPACITY] === capacity ? 'usable' : 'convertible'
}

/** Opens memory that was judged usable; the index is made anew where its last writer ended in the middle. */
export function openFlows(buffer: ArrayBufferLike, reserve?: Reserve): FlowTable {
  const table = new FlowTable(buffer, reserve)
  if (table.words[l.H_MUTATING] !== 0) table.reindex()
  return table
}

/** Carries the flows of a convertible memory over; answers how many did not fit. */
export function convertFlows(from: ArrayBufferLike, to: FlowTable): number {
  const words = new Int32Array(from)
  const offsets = fieldOffsets(words)
  const entry = new Int32Array(l.ENTRY_WORDS)
  const original = new FlowKey()
  const reply = new FlowKey()
  let lost = 0
  const first = words[l.H_HEADER_WORDS]! + words[l.H_BUCKET_MASK]! + 1
  for (let i = 0; i < words[l.H_HIGH_WATER]!; i++) {
    const at = first + i * words[l.H_ENTRY_WORDS]!
    entry.fill(0)
    for (const [number, offset, count] of l.FIELDS) {
      const theirs = offsets.get(number)
      if (theirs !== undefined) for (let w = 0; w < count; w++) entry[offset + w] = words[at + theirs + w]!
    }
    if (!isLive(entry, 0)) continue
    readTuple(entry, 0, original)
    readTuple(entry, l.TUPLE_WORDS, reply)
    const ref = to.find(original) === NO_FLOW ? to.open(original, reply) : NO_FLOW
    if (ref === NO_FLOW) lost++
    else fill(to, ref, entry)
  }
  return lost
}

/** Everything of an entry but its tuples, life and place in the index. */
function fill(table: FlowTable, ref: number, entry: Int32Array): void {
  const at = table.at(ref)
  const assured = entry[l.STATUS]! & l.ASSURED
  entry[l.STATUS]! &= ~l.ASSURED
  table.words.set(entry.subarray(l.STATUS, l.CREATED + 1), at + l.STATUS)
  table.words.set(entry.subarray(l.ORIGIN_ADDRESS), at + l.ORIGIN_ADDRESS)
  if (assured) table.assure(ref)
}

/** Whether the header's numbers agree with each other and with the file's length. */
function isWhole(words: Int32Array): boolean {
  const capacity = words[l.H_CAPACITY]!
  const buckets = words[l.H_BUCKET_MASK]! + 1
  const entryWords = words[l.H_ENTRY_WORDS]!
  const highWater = words[l.H_HIGH_WATER]!
  if (capacity <= 0 || entryWords <= 0 || buckets <= 0 || (buckets & (buckets - 1)) !== 0) return false
  if (words[l.H_HEADER_WORDS]! < l.HEADER_WORDS || highWater < 0 || highWater > capacity) return false
  if (words[l.H_HEADER_WORDS]! + buckets + capacity * entryWords > words.length) return false
  return [...fieldOffsets(words).values()].every((offset) => offset < entryWords)
}

function fieldOffsets(words: Int32Array): Map<number, number> {
  const offsets = new Map<number, number>()
  for (let at = l.H_FIELDS; at < l.HEADER_WORDS && words[at] !== 0; at++) {
    offsets.set(words[at]! >>> 16, (words[at]! >>> 8) & 0xff)
  }
  return offsets
}
