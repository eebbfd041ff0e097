/** The bench works: it prints its rows and leaves nothing behind. What the figures are is no matter here. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { until } from '../support/netns.ts'

const BENCH = join(import.meta.dirname, '../../scripts/bench')
const TIMEOUT_MS = 300_000

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-t'))
})

afterEach(() => {
  rmSync(folder, { recursive: true })
})

const start = (...words: string[]): ChildProcess => spawn(BENCH, ['--quick', '--wire', 'mtu', ...words])

/** Namespaces and folders of this bench. scripts/bench becomes the program it starts, so its process id is known. */
function leftovers({ pid }: ChildProcess): string[] {
  const places = ['/run/netns', tmpdir()].filter((place) => existsSync(place))
  return places.flatMap((place) => readdirSync(place).filter((name) => name.startsWith(`polder-b${pid}-`)))
}

describe('scripts/bench', () => {
  test(
    'prints one table, with a row for each figure and the other way beside polder',
    async () => {
      const json = join(folder, 'bench.json')
      const bench = start('--only', 'rr', 'cni', '--json', json)
      const [table, progress] = await Promise.all([text(bench.stdout!), text(bench.stderr!), once(bench, 'close')])
      expect(bench.exitCode, progress).toBe(0)
      expect(rowsOf(table)).toEqual({
        'Across nodes, wire mtu': ['request/response p50', 'request/response p99', 'request/response'],
        'On one node': ['request/response p50', 'request/response p99', 'request/response'],
        'Attaching pods': [
          'CNI ADD p50',
          'CNI ADD p99',
          'CNI DEL p50',
          'CNI DEL p99',
          "polderd's start-up",
          "polderd's memory, 0 pods",
          "polderd's memory, 102 pods",
        ],
      })
      const { contests } = JSON.parse(readFileSync(json, 'utf8'))
      expect(contests[0].rows[0]).toMatchObject({
        name: 'request/response p50',
        peers: { polder: { values: [expect.any(Number)] }, 'kernel vxlan': { values: [expect.any(Number)] } },
        ratioTo: { 'kernel vxlan': { median: expect.any(Number) } },
      })
      expect(leftovers(bench)).toEqual([])
    },
    TIMEOUT_MS,
  )

  test(
    'leaves nothing behind when it is interrupted',
    async () => {
      const bench = start('--only', 'rr')
      bench.stdout!.resume()
      bench.stderr!.resume()
      // Both polderds run and pods are attached: that is when there is most to clean up.
      await until(() => leftovers(bench).some((name) => name.endsWith('other-node')), TIMEOUT_MS / 2)
      bench.kill('SIGINT')
      await once(bench, 'close')
      expect(bench.exitCode).toBe(130)
      expect(leftovers(bench)).toEqual([])
    },
    TIMEOUT_MS,
  )
})

/** Names of the rows under each title; a row has a figure. */
function rowsOf(table: string): Record<string, string[]> {
  const rows: Record<string, string[]> = {}
  const parts = table.split('\n\n').filter((part) => /^ {2,}polder {2,}/m.test(part))
  for (const part of parts) {
    const [title = '', , ...lines] = part.trim().split('\n')
    rows[title.split(':')[0]!] = lines.flatMap((line) => /^ {2}(\S.*?) {2,}.*\d/.exec(line)?.[1] ?? [])
  }
  return rows
}
