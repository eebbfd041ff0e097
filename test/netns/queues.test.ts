/**
 * What waits for polderd waits in queues that have an end; what finds them full is counted. A polderd that is stopped
 * (SIGSTOP) fetches nothing.
 *
 *   pod a ─ node1 (stopped) ══ node2 ─ pod b
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { type Netns, until } from '../support/netns.ts'

const FLOOD = `const socket = require('node:dgram').createSocket('udp4')
  let left = Number(process.argv[2])
  const burst = () => { for (let i = 0; i < 64 && left > 0; i++) { left--; socket.send('x'.repeat(1000), 9, process.argv[1]) }
    left > 0 ? setImmediate(burst) : socket.close() }
  burst()`

let cluster: TestCluster
let one: TestNode
let a: Pod
let b: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  one = cluster.nodes[0]!
  await cluster.start()
  a = await one.addPod('a')
  b = await cluster.nodes[1]!.addPod('b')
})
afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

const flood = (from: Netns, to: string, count: number) => from.run(process.execPath, '-e', FLOOD, to, String(count))
const full = async (): Promise<Record<string, number>> =>
  Object.fromEntries((await one.get<Counters>('/v1/counters')).queues.map((queue) => [queue.name, queue.full]))

it('counts what pods, the host and peers sent while nobody fetched it, beyond what queues hold', async () => {
  expect(await full()).toEqual({ pods: 0, polder0: 0, underlay: 0 })
  process.kill(one.pid, 'SIGSTOP')
  try {
    await flood(a.netns, b.v4, 6000)
    await flood(one.netns, b.v4, 6000)
    await flood(b.netns, a.v4, 40_000)
  } finally {
    process.kill(one.pid, 'SIGCONT')
  }
  const after = await full()
  expect(after['pods']).toBeGreaterThanOrEqual(900)
  expect(after['polder0']).toBeGreaterThanOrEqual(900)
  expect(after['underlay']).toBeGreaterThan(0)
  // And all goes on.
  await until(async () => (await a.netns.attempt('ping', '-c1', '-W1', b.v4)).code === 0, 10_000)
}, 60_000)
