/** What becomes of figures: verdicts against the targets, the table, the JSON, the chart. */
import { expect, test } from 'vitest'
import { drawChart } from '../../bench/chart.ts'
import { chooseContests, measuresFor, PEERS } from '../../bench/contests.ts'
import { type Report, toJson } from '../../bench/report.ts'
import type { Outcome, Row } from '../../bench/rounds.ts'
import { printTable } from '../../bench/table.ts'
import { judge } from '../../bench/targets.ts'

const contests = chooseContests({
  wires: ['mtu', 'nic', 'full'],
  only: [],
  services: [1, 1000],
  families: ['ipv4', 'ipv6'],
  peers: PEERS,
})
const contest = (title: string) => contests.find((one) => one.title.startsWith(title))!
const acrossMtu = contest('Across nodes, wire mtu')

function row(figure: string, values: Row['values'], better: Row['better'] = 'more', name = figure): Row {
  return { name, figure, unit: 'units', better, values }
}

const tcp = row('TCP 1 stream', {
  polder: [4, 5, 6],
  'kernel vxlan': [4, 4, 4],
  'kernel vxlan, tuned': [8, 8, 8],
  tinc: [1, 1, 1],
  nebula: [0.5, 0.5, 0.5],
})

function report(outcomes: Outcome[]): Report {
  return {
    machine: { kernel: '6.0', cpu: 'CPU & <more>', cores: 2, busy: 0.5 },
    begun: new Date('2026-01-02T03:00:00Z'),
    ended: new Date('2026-01-02T03:10:00Z'),
    rounds: 3,
    seconds: 2,
    peers: { polder: 'its version' },
    measures: { tcp: 'its tool' },
    absent: { n2n: 'not installed: n2n' },
    outcomes,
  }
}

test('a row is judged against the kernel as it comes, and against the fastest user-space peer', () => {
  expect(judge(tcp, acrossMtu)).toEqual([
    { against: 'kernel', peer: 'kernel vxlan', value: 1.25, must: 1, aim: 1.3, reached: 'must' },
    { against: 'user-space', peer: 'tinc', value: 5, must: 4, aim: 6, reached: 'must' },
  ])
})

test('the place and the wire decide which target is meant', () => {
  const reached = (title: string) => judge(tcp, contest(title)).map(({ must, reached }) => ({ must, reached }))
  expect(reached('Across nodes, wire nic')).toEqual([{ must: 0.9, reached: 'aim' }])
  expect(reached('Across nodes, wire full')).toEqual([{ must: 0.7, reached: 'aim' }])
  expect(reached('Attaching pods')).toEqual([])
})

test('where less is better, a ratio must not be above the target', () => {
  const latency = (polder: number) => row('request/response p50', { polder: [polder], 'veth + bridge': [100] }, 'less')
  const reached = (polder: number) => judge(latency(polder), contest('On one node'))[0]!.reached
  expect([reached(115), reached(140), reached(141)]).toEqual(['aim', 'must', 'neither'])
})

test('memory is judged by itself', () => {
  const memory = row("polderd's memory, 110 pods", { polder: [130, 110, 100] }, 'less')
  expect(judge(memory, contest('polder alone'))).toEqual([
    { against: 'value', value: 110, must: 120, aim: 70, reached: 'must' },
  ])
})

test('IPv6 is judged as IPv4 is', () => {
  const values = { polder: [1], 'kernel vxlan': [2] }
  expect(judge(row('TCP 4 streams', values, 'more', 'TCP 4 streams, IPv6'), acrossMtu)).toMatchObject([
    { value: 0.5, reached: 'neither' },
  ])
})

test('the table has medians, extremes, ratios and verdicts, and user-space peers in a part of their own', () => {
  const table = printTable(report([{ contest: acrossMtu, rows: [tcp] }]))
  const words = (start: string) =>
    table
      .split('\n')
      .filter((line) => line.startsWith(`  ${start}`))
      .map((line) => line.trim().split(/ {2,}/))
  expect(words('TCP 1 stream')).toEqual([
    [
      ...['TCP 1 stream', 'units', '5.00 (4.00–6.00)', '4.00', '1.25 (1.00–1.50)', '8.00', '0.625 (0.500–0.750)'],
      'must reached (1), aim 1.3',
    ],
    [
      ...['TCP 1 stream', 'units', '5.00 (4.00–6.00)', '1.00', '5.00 (4.00–6.00)', '0.500', '10.0 (8.00–12.0)'],
      ...['–', '–', '–', '–', 'must reached (4), aim 6'],
    ],
  ])
  expect(table).toContain('3 rounds, 2 s a measurement, 10 min in all')
  expect(table).toContain('other programs used 50 %')
  expect(table).toContain('absent: n2n: not installed: n2n')
})

test('the JSON has every value, every ratio and the verdicts', () => {
  const { contests: parts } = JSON.parse(toJson(report([{ contest: acrossMtu, rows: [tcp] }])))
  expect(parts[0].rows[0]).toMatchObject({
    name: 'TCP 1 stream',
    peers: { polder: { median: 5, min: 4, max: 6, values: [4, 5, 6] } },
    ratioTo: { 'kernel vxlan': { median: 1.25 }, tinc: { median: 5 } },
    targets: [{ reached: 'must' }, { reached: 'must' }],
  })
})

test('through a ClusterIP polder stands beside the kernel with as many Services, and is judged so', () => {
  const many = contest('Through a ClusterIP, one of 1,000')
  expect(many.peers.map(({ name }) => name)).toEqual(['polder', 'nftables map', 'iptables'])
  const values = { polder: [8], 'nftables map': [10], iptables: [1] }
  const verdict = { peer: 'nftables map', value: 0.8, reached: 'must' }
  expect(judge(row('TCP connect/close', values), many)).toMatchObject([verdict])
  const without = chooseContests({ wires: ['mtu'], only: [], services: [1], families: ['ipv6'], peers: PEERS })
  expect(without.filter(({ services }) => services !== undefined)).toEqual([])
})

test('the chart has a bar for each peer, follows the colour scheme, runs nothing and escapes what it is told', () => {
  const quiet = row('ping p50', { polder: [1], 'kernel vxlan': [1] }, 'less')
  const chart = drawChart(report([{ contest: acrossMtu, rows: [tcp, quiet] }]))
  expect(chart.match(/<rect class="(?!ground)/g)).toHaveLength(5)
  expect(chart).toContain('5.00 units')
  expect(chart).toContain('prefers-color-scheme: dark')
  expect(chart).toContain('CPU &amp; &lt;more&gt;')
  expect(chart).not.toContain('ping')
  expect(chart).not.toMatch(/<script|\bon\w+=|href/)
})

test('what nobody would measure is left out', () => {
  const only = (...names: string[]) =>
    chooseContests({ wires: ['mtu'], only: names, services: [1], families: ['ipv4'], peers: PEERS })
  expect(only('ping').map(({ peers }) => peers.map(({ name }) => name))).toEqual([
    ['polder', 'kernel vxlan', 'kernel vxlan, tuned'],
    ['polder', 'veth + bridge'],
  ])
  expect(only('path').map(({ title }) => title)).toEqual(['polder alone'])
  expect(only('services').map(({ title }) => title)).toEqual([
    'Through a ClusterIP, one of 1: across nodes, wire mtu, IPv4',
    'polder with many Services',
  ])
  const tinc = PEERS.find(({ name }) => name === 'tinc')!
  expect(measuresFor(acrossMtu, tinc).map(({ name }) => name)).toEqual(['tcp', 'rr', 'udp'])
})
