/**
 * The flow table for people and metrics: read from any thread, while the data path goes on writing. An entry that was
 * reused while it was read is left out: its life has another number afterwards.
 */
import { type AddressWords, formatAddress } from '../address.ts'
import * as l from './flow-layout.ts'

export interface FlowEnd {
  address: string
  port: number
}

export interface FlowRecord {
  protocol: number
  state: string
  assured: boolean
  /** Of the first packet, as it arrived. */
  source: FlowEnd
  destination: FlowEnd
  /** Who answers: the destination, unless addresses are translated. */
  backend: FlowEnd
  /** `pod`, `host`, or the underlay address of the peer through which the first packet entered. */
  origin: string
  ageSeconds: number
  idleSecondsLeft: number
  originalPackets: number
  originalBytes: number
  replyPackets: number
  replyBytes: number
}

export interface FlowTotals {
  flows: number
  capacity: number
  opened: number
  expired: number
  evicted: number
  refused: number
}

const STATES = ['none', 'syn-sent', 'syn-received', 'established', 'closing', 'closed', 'reset', 'picked-up']

export function flowTotals(buffer: ArrayBufferLike): FlowTotals {
  const words = new Int32Array(buffer)
  const doubles = new Float64Array(buffer)
  return {
    flows: words[l.H_COUNT]!,
    capacity: words[l.H_CAPACITY]!,
    opened: doubles[l.H_OPENED >> 1]!,
    expired: doubles[l.H_EXPIRED >> 1]!,
    evicted: doubles[l.H_EVICTED >> 1]!,
    refused: doubles[l.H_REFUSED >> 1]!,
  }
}

/** `nowMs`: the machine's monotonic clock, as the data path has it. */
export function* listFlows(buffer: ArrayBufferLike, nowMs: number): Generator<FlowRecord> {
  const words = new Int32Array(buffer)
  const doubles = new Float64Array(buffer)
  const first = l.HEADER_WORDS + words[l.H_BUCKET_MASK]! + 1
  for (let entry = 0; entry < words[l.H_HIGH_WATER]!; entry++) {
    const at = first + entry * l.ENTRY_WORDS
    const life = Atomics.load(words, at + l.LIFE)
    if ((life & 1) === 0) continue
    const record = read(words, doubles, at, Math.floor(nowMs / 100))
    if (Atomics.load(words, at + l.LIFE) === life) yield record
  }
}

function read(words: Int32Array, doubles: Float64Array, at: number, now: number): FlowRecord {
  const status = words[at + l.STATUS]!
  const protocol = words[at + l.PROTOCOL]!
  const counters = (at + l.COUNTERS) >> 1
  const state = STATES[status & l.STATE_MASK] ?? 'unknown'
  return {
    protocol,
    state: state === 'none' ? (status & l.SEEN_REPLY ? 'answered' : 'unanswered') : state,
    assured: (status & l.ASSURED) !== 0,
    source: end(words, at + l.SRC, words[at + l.PORTS]! >>> 16),
    destination: end(words, at + l.DST, words[at + l.PORTS]! & 0xffff),
    backend: end(words, at + l.TUPLE_WORDS + l.SRC, words[at + l.TUPLE_WORDS + l.PORTS]! >>> 16),
    origin: originOf(words, at),
    ageSeconds: (now - words[at + l.CREATED]!) / 10,
    idleSecondsLeft: Math.max(0, (words[at + l.EXPIRES]! - now) / 10),
    originalPackets: doubles[counters]!,
    originalBytes: doubles[counters + 1]!,
    replyPackets: doubles[counters + 2]!,
    replyBytes: doubles[counters + 3]!,
  }
}

function end(words: Int32Array, at: number, port: number): FlowEnd {
  return { address: formatAddress(wordsAt(words, at)), port }
}

function originOf(words: Int32Array, at: number): string {
  const kind = words[at + l.ORIGIN]!
  if (kind === l.ORIGIN_PEER) return formatAddress(wordsAt(words, at + l.ORIGIN_ADDRESS))
  return kind === l.ORIGIN_HOST ? 'host' : 'pod'
}

function wordsAt(words: Int32Array, at: number): AddressWords {
  return [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!]
}
