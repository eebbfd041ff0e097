/**
 * The flow table against a naive model (a Map of texts), its bounds, and what becomes of the memory it lies in when a
 * writer ends at any point or another layout finds it.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FlowKey } from '../../../packet/flow-key.ts'
import { Packet } from '../../../packet/packet.ts'
import * as l from '../../../packet/tables/flow-layout.ts'
import { flowTotals, listFlows } from '../../../packet/tables/flow-list.ts'
import {
  convertFlows,
  flowsInMemory,
  formatFlows,
  judgeFlows,
  openFlows,
} from '../../../packet/tables/flow-recovery.ts'
import { type FlowTable, NO_FLOW } from '../../../packet/tables/flows.ts'

const seed = Number(process.env['TEST_POLDER_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const BOOT = Int32Array.of(1, 2, 3, 4)
const packet = new Packet(new Uint8Array(200))
packet.set(22, 100)

/** Flow number `n`: distinct tuples of both families, some of them alike in all but one field. */
function keys(n: number): { original: FlowKey; reply: FlowKey } {
  const original = new FlowKey()
  original.src0 = n % 3 === 0 ? 0xfd000010 | 0 : 0
  original.src2 = 0xffff
  original.src3 = 0x0af40100 + (n % 7)
  original.dst0 = original.src0
  original.dst2 = 0xffff
  original.dst3 = 0x0af40200 + (n % 5)
  original.ports = (n << 16) | 80
  original.protocol = n % 2 === 0 ? 6 : 17
  const reply = new FlowKey()
  Object.assign(reply, { ...original, src3: original.dst3, dst3: original.src3, ports: (80 << 16) | (n & 0xffff) })
  return { original, reply }
}

function open(table: FlowTable, n: number, lifetime = 100, status = 0): number {
  const { original, reply } = keys(n)
  const ref = table.open(original, reply)
  if (ref === NO_FLOW) return ref
  table.touch(ref, packet, lifetime)
  if (status & l.ASSURED) table.assure(ref)
  return ref
}

const found = (table: FlowTable, n: number): boolean => {
  const { original, reply } = keys(n)
  const ref = table.find(original)
  // Whichever direction is asked for, it is the same flow.
  expect(table.find(reply)).toBe(ref === NO_FLOW ? NO_FLOW : ref | 1)
  return ref !== NO_FLOW
}

describe('beside a naive model', () => {
  it(`finds what was opened, not what was closed or has run out, in any order of events (seed ${seed})`, () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('open' as const), n: fc.nat(60), lifetime: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ kind: fc.constant('close' as const), n: fc.nat(60) }),
      fc.record({ kind: fc.constant('wait' as const), tenths: fc.integer({ min: 1, max: 30 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = flowsInMemory(128)
        const model = new Map<number, number>()
        let now = 1000
        table.tick(now * 100)
        for (const s of steps) {
          if (s.kind === 'open' && !found(table, s.n)) {
            expect(open(table, s.n, s.lifetime)).not.toBe(NO_FLOW)
            model.set(s.n, now + s.lifetime)
          } else if (s.kind === 'close' && found(table, s.n)) {
            table.close(table.find(keys(s.n).original))
            model.delete(s.n)
          } else if (s.kind === 'wait') {
            now += s.tenths
            table.tick(now * 100)
          }
          for (let n = 0; n <= 60; n++) expect(found(table, n)).toBe((model.get(n) ?? 0) > now)
        }
        expect(table.size).toBe([...model.values()].filter((until) => until > now).length)
      }),
      { seed, numRuns: 60 },
    )
  })

  it('counts packets and bytes of each direction', () => {
    const table = flowsInMemory(16)
    table.tick(1000)
    const ref = open(table, 1)
    table.touch(ref, packet, 100)
    table.touch(ref | 1, packet, 100)
    const [flow] = [...listFlows(table.words.buffer, 1000)]
    expect(flow).toMatchObject({ originalPackets: 2, originalBytes: 200, replyPackets: 1, replyBytes: 100 })
    expect(flow).toMatchObject({ source: { address: '10.244.1.1', port: 1 }, destination: { port: 80 }, protocol: 17 })
  })
})

describe('bounds', () => {
  it('gives the room of unanswered flows to new ones, and never that of assured ones', () => {
    const table = flowsInMemory(64)
    table.tick(1000)
    for (let n = 0; n < 32; n++) expect(open(table, n, 100, l.ASSURED)).not.toBe(NO_FLOW)
    for (let n = 1000; n < 3000; n++) expect(open(table, n)).not.toBe(NO_FLOW)
    for (let n = 0; n < 32; n++) expect(found(table, n)).toBe(true)
    expect(flowTotals(table.words.buffer).evicted).toBeGreaterThan(1900)
    expect(table.size).toBe(64)
  })

  it('refuses a new flow where all are assured, and takes it once one has run out', () => {
    const table = flowsInMemory(64)
    table.tick(1000)
    // Seven sources, none of which has half.
    for (let n = 0; n < 64; n++) open(table, n, n === 17 ? 20 : 1000, l.ASSURED)
    expect(open(table, 5000)).toBe(NO_FLOW)
    expect(flowTotals(table.words.buffer).refused).toBe(1)
    table.tick(4000)
    expect(open(table, 5000)).not.toBe(NO_FLOW)
    expect(found(table, 17)).toBe(false)
  })

  it('assures half of the table to one source, and what it has beyond makes room for others', () => {
    const table = flowsInMemory(1024)
    table.tick(1000)
    const of = (source: number, n: number): boolean => {
      const { original, reply } = keys(n * 3 + 1)
      original.src3 = reply.dst3 = source
      const ref = table.open(original, reply)
      if (ref === NO_FLOW) return false
      table.touch(ref, packet, 100)
      return table.assure(ref)
    }
    expect(Array.from({ length: 1024 }, (_, n) => of(42, n)).filter(Boolean).length).toBe(512)
    // A new flow looks at 256 others for room: one or two are refused while the hand passes what is assured.
    expect(Array.from({ length: 500 }, (_, n) => of(43, n)).filter(Boolean).length).toBeGreaterThan(490)
    expect(table.size).toBe(1024)
  })

  it('grows only as far as there is memory, and by making room after that', () => {
    const buffer = new ArrayBuffer(l.tableWords(20_000) * 4)
    formatFlows(buffer, 20_000, 7, BOOT)
    const asked: number[] = []
    const table = openFlows(buffer, (from) => asked.push(from) <= 2)
    table.tick(1000)
    for (let n = 0; n < 5_000; n++) expect(open(table, n)).not.toBe(NO_FLOW)
    expect(table.size).toBe(512)
    const none = openFlows(
      formatFlows(new ArrayBuffer(l.tableWords(1024) * 4), 1024, 7, BOOT).words.buffer,
      () => false,
    )
    none.tick(1000)
    expect(open(none, 1)).toBe(NO_FLOW)
    // A refusal is believed for a while.
    expect(asked.length).toBe(3)
    expect(table.words.subarray(table.at(512 << 1)).some((word) => word !== 0)).toBe(false)
  })

  it('expires everything in time, however often or seldom the hand moves', () => {
    for (const stepMs of [1, 37, 1000, 60_000]) {
      const table = flowsInMemory(4096)
      table.tick(0)
      for (let n = 0; n < 2000; n++) open(table, n, 10)
      let now = 1001
      for (; now < 1001 + 6000 || table.size > 0; now += stepMs) {
        table.tick(now)
        if (now > 200_000) break
      }
      expect(table.size, `steps of ${stepMs} ms`).toBe(0)
    }
  })
})

describe('the memory it lies in', () => {
  const memory = (capacity: number): ArrayBuffer => new ArrayBuffer(l.tableWords(capacity) * 4)

  it('is opened again as it was', () => {
    const buffer = memory(64)
    const table = formatFlows(buffer, 64, 7, BOOT)
    table.tick(1000)
    for (let n = 0; n < 20; n++) open(table, n)
    expect(judgeFlows(buffer, 64, BOOT)).toBe('usable')
    const again = openFlows(buffer)
    again.tick(2000)
    for (let n = 0; n < 20; n++) expect(found(again, n)).toBe(true)
    expect(again.size).toBe(20)
  })

  it('is that of another boot, or no table at all: foreign', () => {
    const buffer = memory(64)
    formatFlows(buffer, 64, 7, BOOT)
    expect(judgeFlows(buffer, 64, Int32Array.of(1, 2, 3, 5))).toBe('foreign')
    expect(judgeFlows(new ArrayBuffer(100), 64, BOOT)).toBe('foreign')
    expect(judgeFlows(buffer.slice(0, buffer.byteLength - 4), 64, BOOT)).toBe('foreign')
    for (const word of [l.H_MAGIC, l.H_CAPACITY, l.H_ENTRY_WORDS, l.H_BUCKET_MASK, l.H_HIGH_WATER, l.H_HEADER_WORDS]) {
      const broken = buffer.slice(0)
      new Int32Array(broken)[word] = -5
      expect(judgeFlows(broken, 64, BOOT)).toBe('foreign')
    }
  })

  it('is made consistent after a writer that ended anywhere in its work', () => {
    const entryOf = (table: FlowTable, n: number) => table.find(keys(n).original)
    for (let spoilt = 0; spoilt < 200; spoilt++) {
      const buffer = memory(64)
      const table = formatFlows(buffer, 64, spoilt, BOOT)
      table.tick(1000)
      for (let n = 0; n < 20; n++) open(table, n)
      for (let n = 0; n < 5; n++) table.close(entryOf(table, n * 3))
      // Whatever index and free list say, MUTATING tells that they are not to be believed.
      const words = table.words
      words[l.H_MUTATING] = 1
      words[l.H_FREE] = spoilt % 21
      words[l.H_COUNT] = 99
      for (let i = 0; i < 30; i++) words[l.HEADER_WORDS + ((spoilt * 31 + i * 97) & words[l.H_BUCKET_MASK]!)] = i % 20
      const again = openFlows(buffer)
      again.tick(1000)
      expect(again.size).toBe(15)
      for (let n = 0; n < 20; n++) expect(found(again, n)).toBe(n % 3 !== 0 || n >= 15)
      for (let n = 100; n < 149; n++) expect(open(again, n)).not.toBe(NO_FLOW)
      expect(again.size).toBe(64)
    }
  })

  it('carries flows over to a table of another size, as many as it holds', () => {
    const from = memory(64)
    const table = formatFlows(from, 64, 7, BOOT)
    table.tick(1000)
    for (let n = 0; n < 40; n++) open(table, n, 100, l.ASSURED)
    expect(judgeFlows(from, 256, BOOT)).toBe('convertible')
    const larger = flowsInMemory(256)
    larger.tick(1000)
    expect(convertFlows(from, larger)).toBe(0)
    for (let n = 0; n < 40; n++) expect(found(larger, n)).toBe(true)
    const smaller = flowsInMemory(30)
    smaller.tick(1000)
    expect(convertFlows(from, smaller)).toBe(10)
    expect([...listFlows(larger.words.buffer, 1000)].every((flow) => flow.assured && flow.originalPackets === 1)).toBe(
      true,
    )
  })

  it('carries flows over from another layout, by the numbers of its fields', () => {
    const table = flowsInMemory(64)
    table.tick(1000)
    for (let n = 0; n < 20; n++) open(table, n, 100, l.ASSURED)
    const other = new FlowsOfTomorrow(table)
    expect(judgeFlows(other.buffer, 64, new Int32Array(4))).toBe('convertible')
    const ours = flowsInMemory(64)
    ours.tick(1000)
    expect(convertFlows(other.buffer, ours)).toBe(0)
    const list = (t: FlowTable) => [...listFlows(t.words.buffer, 1000)].sort((a, b) => a.source.port - b.source.port)
    expect(list(ours)).toEqual(list(table))
  })
})

/** The same flows in a layout that does not exist yet: fields in reverse order, a new one among them, longer entries. */
class FlowsOfTomorrow {
  readonly buffer: ArrayBuffer

  constructor(table: FlowTable) {
    const entryWords = 64
    const headerWords = 256
    const buckets = 1024
    const capacity = 80
    this.buffer = new ArrayBuffer((headerWords + buckets + capacity * entryWords) * 4)
    const words = new Int32Array(this.buffer)
    words.set(table.words.subarray(0, 64))
    words[l.H_VERSION] = l.VERSION + 1
    words[l.H_HEADER_WORDS] = headerWords
    words[l.H_ENTRY_WORDS] = entryWords
    words[l.H_CAPACITY] = capacity
    words[l.H_BUCKET_MASK] = buckets - 1
    words[l.H_FIELDS] = (999 << 16) | (0 << 8) | 3
    let to = 3
    for (const [i, [number, offset, count]] of l.FIELDS.toReversed().entries()) {
      words[l.H_FIELDS + 1 + i] = (number << 16) | (to << 8) | count
      for (let entry = 0; entry < table.words[l.H_HIGH_WATER]!; entry++) {
        const at = table.at(entry << 1) + offset
        words.set(table.words.subarray(at, at + count), headerWords + buckets + entry * entryWords + to)
      }
      to += count
    }
  }
}
