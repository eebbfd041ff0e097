/**
 * polder under attack: a pod, and a host on the underlay, send as fast as they can what costs a network most. Meanwhile
 * another pod's TCP connection to the other node goes on, polderd's API answers, what is dropped is counted by name, and
 * polderd's memory stays what it was.
 *
 *   a (attacks), b (works) ─ node1 ─┐
 *                                   ├ bridge ─ outsider (attacks)
 *   c (works) ────────────── node2 ─┘
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { buildBytes } from '../support/build-packet.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { envelopeBytes } from '../support/envelope.ts'
import { type NetnsProcess, until } from '../support/netns.ts'
import { datagram, type Sendings, startRaw } from '../support/raw-packet.ts'

const ATTACK_SECONDS = process.env['TEST_POLDER_FULL'] === '1' ? 20 : 1.5
/** Ten times what is promised. */
const API_MS_MAX = 1000
/** A leak of 100 bytes a packet would be more than this in every attack. */
const MEMORY_GROWTH_MAX_BYTES = 40 << 20
const WINDOW_MS = 250

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let a: Pod
let b: Pod
let c: Pod
let worker: NetnsProcess

/** One connection, one request at a time; prints how many round trips each window had. */
const ECHO = `require('net').createServer((s) => s.pipe(s)).listen(7)`
const ask = (address: string): string => `const s = require('net').connect(7, '${address}')
  let trips = 0; s.setNoDelay(); s.on('connect', () => s.write('x')).on('data', () => { trips++; s.write('x') })
  s.on('close', () => { console.log('closed'); process.exit(1) }).on('error', (e) => console.log(e.code))
  setInterval(() => { console.log(trips); trips = 0 }, ${WINDOW_MS})`

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  await cluster.underlay.run('ip', 'address', 'add', '198.18.0.99/24', 'dev', 'underlay')
  await cluster.start()
  ;[a, b, c] = await Promise.all([node1.addPod('a'), node1.addPod('b'), node2.addPod('c')])
  c.netns.spawn(process.execPath, '-e', ECHO)
  await until(async () => (await c.netns.run('ss', '-Hltn')).includes(':7'), 20_000)
  worker = b.netns.spawn(process.execPath, '-e', ask(c.v4))
  await until(() => windows().some((trips) => trips > 0), 20_000)
})

afterAll(async () => {
  await worker?.end()
  for (const pod of [a, b, c]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

function windows(): number[] {
  return worker.stdout.trim().split('\n').filter(Boolean).map(Number)
}

function memoryBytes(node: TestNode): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))!
  return Number(kilobytes) * 1024
}

async function dropped(node: TestNode, reason: string): Promise<number> {
  const { drops } = await node.get<Counters>('/v1/counters')
  return drops.find((drop) => drop.reason === reason)?.packets ?? 0
}

interface Attack {
  /** By whom, of raw-packet's words: from the pod through its device, or by a host on the underlay. */
  from: 'pod' | 'outsider'
  packets: () => Uint8Array[]
  /** What counts up, and what counts down so that checksums stay right. */
  vary: [number, number]
  /** Where all of it is dropped, and why; nothing where it is carried. */
  reason?: string
}

const ports = (line: (port: number) => string) => Array.from({ length: 64 }, (_, i) => buildBytes(line(1000 + i * 997)))

const ATTACKS: [what: string, Attack][] = [
  [
    'SYNs to all ports, from all ports',
    { from: 'pod', packets: () => ports((port) => `tcp ${a.v4}:1 > ${c.v4}:${port} flags syn`), vary: [20, 26] },
  ],
  [
    'UDP to all ports, from all ports',
    { from: 'pod', packets: () => ports((port) => `udp ${a.v4}:1 > ${c.v4}:${port} payload 64`), vary: [20, 26] },
  ],
  [
    'first fragments that nothing follows',
    {
      from: 'pod',
      packets: () => ports((port) => `udp ${a.v4}:1 > ${c.v4}:${port} ipflags 1 payload 64`),
      vary: [4, 10],
    },
  ],
  [
    'fragments after a first that never was',
    { from: 'pod', packets: () => ports((port) => `udp ${a.v4}:1 > ${c.v4}:${port} fragment 185`), vary: [4, 10] },
  ],
  [
    'packets that want to be answered',
    {
      from: 'pod',
      packets: () => ports((port) => `udp ${a.v4}:1 > ${c.v4}:${port} ttl 1`),
      vary: [20, 26],
      reason: 'ttl-expired',
    },
  ],
  ['echo requests', { from: 'pod', packets: () => [buildBytes(`icmp ${a.v4} > ${c.v4} payload 8`)], vary: [24, 22] }],
  [
    "others' addresses",
    {
      from: 'pod',
      packets: () => ports((port) => `udp ${b.v4}:1 > ${c.v4}:${port}`),
      vary: [14, 10],
      reason: 'spoofed-pod',
    },
  ],
  [
    'VXLAN by a stranger',
    {
      from: 'outsider',
      packets: () => [
        datagram('198.18.0.99:1', '198.18.0.1:4789', envelopeBytes(buildBytes(`udp ${c.v4}:1 > ${b.v4}:2`))),
      ],
      vary: [20, 26],
      reason: 'unknown-peer',
    },
  ],
  [
    "VXLAN with a node's address and another's pods",
    {
      from: 'outsider',
      packets: () => [
        datagram('198.18.0.2:1', '198.18.0.1:4789', envelopeBytes(buildBytes(`udp ${a.v4}:1 > ${b.v4}:2`))),
      ],
      vary: [20, 26],
      reason: 'spoofed-peer',
    },
  ],
]

interface Toll {
  sent: number
  slowestApiMs: number
  trips: number[]
  counted: number
}

async function attack({ from, packets, vary, reason }: Attack, seconds: number): Promise<Toll> {
  const netns = from === 'pod' ? a.netns : cluster.underlay
  const way = from === 'pod' ? ['device', 'eth0'] : ['ip']
  const counted = reason === undefined ? 0 : await dropped(node1, reason)
  // The window that is running now is not the attack's yet.
  const first = windows().length + 1
  const attacker = startRaw(netns, packets(), ...way, 'seconds', String(seconds), 'vary', ...vary.map(String))
  let slowestApiMs = 0
  while (attacker.running) {
    const startedMs = performance.now()
    await node1.info()
    slowestApiMs = Math.max(slowestApiMs, performance.now() - startedMs)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect(await attacker.ended, attacker.stderr).toBe(0)
  const { sent } = JSON.parse(attacker.stdout) as Sendings
  const trips = windows().slice(first)
  return { sent, slowestApiMs, trips, counted: reason === undefined ? 0 : (await dropped(node1, reason)) - counted }
}

const tolls: string[] = []

it.each(ATTACKS)('%s: others go on, the API answers', { timeout: 120_000 }, async (what, one) => {
  const { answers } = await node1.get<Counters>('/v1/counters')
  const startedMs = performance.now()
  const { sent, slowestApiMs, trips, counted } = await attack(one, ATTACK_SECONDS)
  const rate = Math.round(sent / ATTACK_SECONDS / 1000)
  tolls.push(
    `${what}: ${rate}k/s, ${trips.join(' ')} round trips, API ${Math.round(slowestApiMs)} ms, ${counted} counted`,
  )
  expect(worker.stdout).not.toMatch(/closed|E[A-Z]+/)
  expect(trips.length).toBeGreaterThan(0)
  expect(Math.max(...trips)).toBeGreaterThan(0)
  expect(slowestApiMs).toBeLessThan(API_MS_MAX)
  if (one.reason !== undefined) expect(counted).toBeGreaterThan(1000)
  // 200 at once and 100 a second for each of those who may be answered: the pod, the host, the peer.
  const told = (await node1.get<Counters>('/v1/counters')).answers - answers
  expect(told).toBeLessThanOrEqual(3 * (200 + (100 * (performance.now() - startedMs)) / 1000))
})

it("polderd's memory stays what it was", { timeout: 300_000 }, async () => {
  const before = [node1, node2].map(memoryBytes)
  for (const [, one] of ATTACKS) await attack(one, ATTACK_SECONDS / 2)
  const grown = [node1, node2].map((node, index) => memoryBytes(node) - before[index]!)
  console.log(`${tolls.join('\n')}\nmemory grew by ${grown.map((bytes) => Math.round(bytes / 1024)).join(' and ')} KiB`)
  for (const bytes of grown) expect(bytes).toBeLessThan(MEMORY_GROWTH_MAX_BYTES)
})
