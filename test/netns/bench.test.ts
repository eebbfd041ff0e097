/**
 * The bench works: it prints its rows, writes its files and leaves nothing behind. What the figures are is no matter
 * here. TEST_POLDER_FULL=1: every measure and every peer that is installed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { until } from '../support/netns.ts'

const BENCH = join(import.meta.dirname, '../../scripts/bench')
const FULL = process.env['TEST_POLDER_FULL'] === '1'
const TIMEOUT_MS = FULL ? 1_200_000 : 300_000

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

const LATENCY = ['request/response p50', 'request/response p99', 'request/response']
const RATES = ['UDP 64 B with under 1 % lost', 'UDP 1400 B with under 1 % lost']
const BETWEEN_NODES = ['pod to peer', 'peer to pod']
const ENTRANCES = [
  ...BETWEEN_NODES,
  'pod to pod',
  'host to pod',
  ...BETWEEN_NODES.map((of) => `${of}, TCP`),
  ...BETWEEN_NODES.map((of) => `${of}, IPv6`),
  'pod to peer, new flow',
]
const FLOWS = ['lookup', 'opening one', 'memory', 'longest pause for expiry'].map((of) => `1,000,000 flows: ${of}`)

describe('scripts/bench', () => {
  test(
    'prints one table, with a row for each figure and the other ways beside polder',
    async () => {
      const files = { json: join(folder, 'bench.json'), chart: join(folder, 'bench.svg') }
      const only = ['--no-user-space', '--family', 'ipv6', '--only', 'rr', 'udp-rate', 'path']
      const bench = start(...only, '--json', files.json, '--chart', files.chart)
      const [table, progress] = await Promise.all([text(bench.stdout!), text(bench.stderr!), once(bench, 'close')])
      expect(bench.exitCode, progress).toBe(0)
      const traffic = [...LATENCY, ...RATES].map((row) => `${row}, IPv6`)
      expect(rowsOf(table)).toEqual({
        'Across nodes, wire mtu': traffic,
        'On one node': traffic,
        'polder alone': [...ENTRANCES.map((name) => `JavaScript a packet, ${name}`), ...FLOWS],
      })
      const { contests } = JSON.parse(readFileSync(files.json, 'utf8'))
      expect(contests[0].rows[0]).toMatchObject({
        name: 'request/response p50, IPv6',
        peers: { polder: { values: [expect.any(Number)] }, 'kernel vxlan': { values: [expect.any(Number)] } },
        ratioTo: { 'kernel vxlan': { median: expect.any(Number) } },
        targets: [{ peer: 'kernel vxlan', must: 1.4, aim: 1.15 }],
      })
      expect(readFileSync(files.chart, 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
      expect(leftovers(bench)).toEqual([])
    },
    TIMEOUT_MS,
  )

  test(
    'goes through Services, and changes them',
    async () => {
      const bench = start('--no-user-space', '--family', 'ipv4', '--only', 'services')
      const [table, progress] = await Promise.all([text(bench.stdout!), text(bench.stderr!), once(bench, 'close')])
      expect(bench.exitCode, progress).toBe(0)
      const rows = rowsOf(table)
      expect(rows['Through a ClusterIP, one of 100']).toEqual(['TCP connect/close', ...LATENCY])
      expect(rows['polder with many Services']).toHaveLength(11)
      expect(table).toContain('nftables map')
      expect(leftovers(bench)).toEqual([])
    },
    TIMEOUT_MS,
  )

  test(
    'leaves nothing behind when it is interrupted',
    async () => {
      const bench = start('--no-user-space', '--only', 'rr')
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

  test.runIf(FULL)(
    'measures everything, beside everybody who is there',
    async () => {
      const bench = start()
      const [table, progress] = await Promise.all([text(bench.stdout!), text(bench.stderr!), once(bench, 'close')])
      expect(bench.exitCode, progress).toBe(0)
      const rows = rowsOf(table)
      expect(rows['Across nodes, wire mtu']).toContain('UDP 1400 B delivered, IPv6')
      expect(rows['Attaching pods']).toContain('CNI DEL p99')
      expect(rows['polder alone']).toContain("polderd's memory, 110 pods")
      expect(leftovers(bench)).toEqual([])
    },
    TIMEOUT_MS,
  )
})

/** Names of the rows under each title; a row has a figure. */
function rowsOf(table: string): Record<string, string[]> {
  const rows: Record<string, string[]> = {}
  const parts = table.split('\n\n').filter((part) => /^[^ ].*\n {2,}polder(?: {2}|$)/m.test(part))
  for (const part of parts) {
    const [title = '', , ...lines] = part.trim().split('\n')
    rows[title.split(':')[0]!] = lines.flatMap((line) => /^ {2}(\S.*?) {2,}.*\d/.exec(line)?.[1] ?? [])
  }
  return rows
}
