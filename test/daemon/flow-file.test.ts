/** The flow table's file: what the next polderd finds of it, whatever became of the one before. Real files, mapped. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { monotonicMs, openFlowFile, prepareFlowFile } from '../../daemon/dataplane/flow-file.ts'
import { FlowKey } from '../../packet/flow-key.ts'
import { Packet } from '../../packet/packet.ts'
import { listFlows } from '../../packet/tables/flow-list.ts'
import type { FlowTable } from '../../packet/tables/flows.ts'

let folder: string
let path: string
const bootId = randomUUID()
const logged: string[] = []
const log = pino({ level: 'info' }, { write: (line: string) => logged.push(JSON.parse(line).msg) })
const prepare = (capacity = 1024, boot: string = bootId) => prepareFlowFile({ path, capacity, bootId: boot, log })
const packet = new Packet(new Uint8Array(100))
packet.set(22, 60)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-flows-'))
  path = join(folder, 'flows')
  logged.length = 0
})
afterEach(() => rmSync(folder, { recursive: true }))

function open(table: FlowTable, port: number): void {
  const key = Object.assign(new FlowKey(), { src3: 1, dst3: 2, src2: 0xffff, dst2: 0xffff, ports: port, protocol: 17 })
  const reply = Object.assign(new FlowKey(), { ...key, src3: 2, dst3: 1, ports: port << 16 })
  table.touch(table.open(key, reply), packet, 1000)
}

function write(ports: number[], capacity?: number): void {
  prepare(capacity)
  const table = openFlowFile(path)
  table.tick(monotonicMs())
  for (const port of ports) open(table, port)
}

const ports = (capacity?: number, boot?: string): number[] =>
  [...listFlows(prepare(capacity, boot), monotonicMs())].map(({ destination }) => destination.port)

it('is private, and no larger than it is used', () => {
  prepare(1_000_000)
  const { mode, blocks } = statSync(path)
  expect(mode & 0o777).toBe(0o600)
  // Header and index are there from the beginning, entries as they are used.
  expect(blocks * 512).toBeLessThan(10_000_000)
})

it('keeps the flows for the next one', () => {
  write([1, 2, 3])
  expect(ports()).toEqual([1, 2, 3])
})

it('is read while it is written', () => {
  const memory = prepare()
  const table = openFlowFile(path)
  table.tick(monotonicMs())
  expect([...listFlows(memory, monotonicMs())]).toEqual([])
  open(table, 7)
  expect([...listFlows(memory, monotonicMs())]).toMatchObject([{ originalPackets: 1 }])
})

it('carries the flows over into a table of another size', () => {
  write([1, 2, 3])
  expect(ports(4096)).toEqual([1, 2, 3])
  expect(logged).toEqual(['the flow table has another size or layout: flows are carried over'])
  expect(ports(1024)).toEqual([1, 2, 3])
})

it('begins anew after a boot, and where it is damaged, cut off or something else', () => {
  write([1])
  expect(ports(1024, randomUUID())).toEqual([])
  write([1])
  truncateSync(path, 5000)
  expect(ports()).toEqual([])
  writeFileSync(path, 'no table at all')
  expect(ports()).toEqual([])
  truncateSync(path, 0)
  expect(ports()).toEqual([])
})

it('that cannot be made is an error with a remedy', () => {
  path = join(folder, 'absent', 'flows')
  expect(() => prepare()).toThrow(expect.objectContaining({ code: 'flows-failed' }))
})
