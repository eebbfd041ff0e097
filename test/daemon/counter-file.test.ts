/** The counters' file: what the next polderd finds of them, whatever became of the one before. Real files, mapped. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openCounterFile, prepareCounterFile } from '../../daemon/dataplane/counter-file.ts'
import { COUNT_ANSWERS, COUNT_BYTES, COUNT_DROPS, COUNTER_SLOTS, FROM_HOST } from '../../daemon/dataplane/protocol.ts'
import { DROP_POISON } from '../../packet/path/drop-reason.ts'

const HEADER_BYTES = 4096
const bootId = randomUUID()
let folder: string
let path: string
const prepare = (boot = bootId): Float64Array => prepareCounterFile({ path, bootId: boot })

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-counters-'))
  path = join(folder, 'counters')
})
afterEach(() => rmSync(folder, { recursive: true }))

it('begins at 0, is private, and is the same memory for all', () => {
  const counters = prepare()
  expect([...counters]).toEqual(new Array(COUNTER_SLOTS).fill(0))
  expect(statSync(path).mode & 0o777).toBe(0o600)
  openCounterFile(path)[COUNT_ANSWERS]! += 3
  expect(counters[COUNT_ANSWERS]).toBe(3)
})

it('goes on for the next one, of the same boot', () => {
  prepare().set([1, 2, 3], COUNT_BYTES)
  expect([...prepare().slice(COUNT_BYTES, COUNT_BYTES + 3)]).toEqual([1, 2, 3])
  expect([...prepare(randomUUID())]).toEqual(new Array(COUNTER_SLOTS).fill(0))
})

it('what another version counted under the same names is carried over', () => {
  const names = ['answers', 'dropped of-old', 'dropped poison', 'bytes from-host']
  const header = JSON.stringify([bootId, ...names]).padEnd(HEADER_BYTES)
  const values = Buffer.from(new Float64Array([5, 6, 7, 2 ** 40]).buffer)
  writeFileSync(path, Buffer.concat([Buffer.from(header), values]))
  const counters = prepare()
  expect(counters[COUNT_ANSWERS]).toBe(5)
  expect(counters[COUNT_DROPS + DROP_POISON]).toBe(7)
  expect(counters[COUNT_BYTES + FROM_HOST]).toBe(2 ** 40)
  expect(counters.reduce((sum, value) => sum + value)).toBe(5 + 7 + 2 ** 40)
})

it.each(['', '{', '[', '[]', 'null', JSON.stringify([bootId, 'answers'])])('anything else begins anew: %s', (text) => {
  writeFileSync(path, text.padEnd(HEADER_BYTES + 4))
  expect([...prepare()]).toEqual(new Array(COUNTER_SLOTS).fill(0))
  writeFileSync(path, text)
  expect([...prepare()]).toEqual(new Array(COUNTER_SLOTS).fill(0))
})

it('where it cannot be made, the error says so', () => {
  path = join(folder, 'absent', 'counters')
  expect(() => prepare()).toThrow(/counters .* cannot be made: ENOENT/)
})

it('has a name for every counter', () => {
  prepare()
  const [, ...names] = JSON.parse(readFileSync(path).toString('utf8', 0, HEADER_BYTES))
  expect(names).toHaveLength(COUNTER_SLOTS)
  expect(new Set(names).size).toBe(COUNTER_SLOTS)
  expect(names).not.toContain(null)
})
