/**
 * polderd ends, cleanly or not, and starts again: the pods keep their devices, and what is sent meanwhile waits.
 *
 *   a ─ node1 (restarts) ══ VXLAN ══ node2 ─ b
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { keeperPath } from '../../daemon/handover/keeper.ts'
import { resumePath } from '../../daemon/handover/resume.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { type Netns, until } from '../support/netns.ts'
import { receiveNumbered, sendNumbered } from '../support/paced-udp.ts'
import { keeperPid } from '../support/processes.ts'
import { transfer } from '../support/transfer-run.ts'

const DATAGRAMS = 1000
const RATE = 2000
const PATIENCE_MS = 20_000

let cluster: TestCluster
let node1: TestNode
let a: Pod
let b: Pod

beforeEach(async () => {
  cluster = await TestCluster.create(2)
  await cluster.start()
  node1 = cluster.nodes[0]!
  a = await node1.addPod('a')
  b = await cluster.nodes[1]!.addPod('b')
  // The kernel keeps only some packets for a neighbour whose MAC it does not know yet.
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
})

afterEach(async () => {
  for (const pod of [a, b]) await pod.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** What must not change: the device itself, its state, addresses and routes. */
async function looks({ netns }: Pod): Promise<unknown> {
  const [link] = await netns.json('ip', '-j', 'link', 'show', 'eth0')
  // UP once it had no carrier for a moment, UNKNOWN before.
  delete link!['operstate']
  const routes = await netns.run('sh', '-c', 'ip route show table all; ip -6 route show table all')
  return { link, addresses: await netns.run('ip', '-o', 'address', 'show', 'eth0'), routes }
}

const ways: [string, (node: TestNode) => Promise<unknown>][] = [
  ['SIGTERM', (node) => node.stop()],
  ['kill -9', (node) => node.kill()],
]

test.each(ways)('after %s the devices keep their carrier, and what is sent meanwhile arrives', async (_, end) => {
  const before = await looks(a)
  await end(node1)
  expect(await looks(a)).toEqual(before)
  const ways: [Netns, Pod][] = [
    [a.netns, b],
    [b.netns, a],
    [node1.netns, b],
  ]
  const receivers = await Promise.all(ways.map(([, to], i) => receiveNumbered(to.netns, 9000 + i)))
  const senders = ways.map(([from, { v4 }], i) => sendNumbered(from, v4, 9000 + i, RATE, DATAGRAMS))
  await Promise.all(senders.map((sender) => sender.stop()))
  await node1.start()
  const arrived = await Promise.all(receivers.map((receiver) => receiver.all(DATAGRAMS)))
  console.log(`longest gaps: ${arrived.map(({ longestGapMs }) => `${longestGapMs} ms`).join(', ')}`)
  expect(arrived).toMatchObject(ways.map(() => ({ received: DATAGRAMS, lost: 0, doubled: 0 })))
  expect(await looks(a)).toEqual(before)
})

test.each(ways)('after %s counters go on', async (_, end) => {
  const packets = async () => (await node1.get<Counters>('/v1/counters')).entrances.map(({ packets }) => packets)
  await a.netns.run('ping', '-c', '50', '-i', '0.01', '-W', '5', b.v4)
  const before = await packets()
  expect(before[0]).toBeGreaterThanOrEqual(51)
  await end(node1)
  await node1.start()
  await until(async () => (await packets()).every((count, i) => count >= before[i]!))
})

test('a transfer outlives kills at any moment', async () => {
  let over = false
  const done = transfer(a.netns, a.v4, b.netns, 300 << 20).finally(() => {
    over = true
  })
  let kills = 0
  for (; kills < 3 && !over; kills++) {
    await node1.kill()
    await node1.start()
  }
  const [served, connected] = await done
  expect(kills).toBeGreaterThan(0)
  expect([served.received, connected.received]).toEqual([connected.sent, served.sent])
})

test('the keeper is started anew where it was killed, and without it the devices are attached as before', async () => {
  const path = keeperPath(node1.socket)
  const first = keeperPid(path)!
  process.kill(first, 'SIGKILL')
  await until(() => keeperPid(path) !== undefined && keeperPid(path) !== first)
  await until(() => node1.log.includes('it is back, and has all 3 again'))
  const before = await looks(a)
  await node1.kill()
  expect(await looks(a)).toEqual(before)
  process.kill(keeperPid(path)!, 'SIGKILL')
  await hasNoCarrier(a)
  await node1.start()
  // The kernel tells of a carrier in its own time.
  await until(async () => expect(await looks(a)).toEqual(before) ?? true, PATIENCE_MS)
  await b.netns.run('ping', '-c', '1', '-W', '5', a.v4)
})

async function hasNoCarrier({ netns }: Pod): Promise<void> {
  await until(async () => (await netns.run('ip', 'link', 'show', 'eth0')).includes('NO-CARRIER'), PATIENCE_MS)
}

/** Resolves once the next polderd of node1 would know of this pod at once. */
async function remembers(pod: Pod): Promise<void> {
  const path = resumePath(node1.socket)
  await until(() => existsSync(path) && readFileSync(path, 'utf8').includes(pod.v4), PATIENCE_MS)
}

const RESUMED = 'packets flow again, as they did before'

test('packets flow before polderd is loaded where all is as it was, and at no other time', async () => {
  const path = resumePath(node1.socket)
  await remembers(a)
  const remembered = readFileSync(path)
  await node1.kill()
  await node1.start()
  expect(node1.log.indexOf(RESUMED)).toBeLessThan(node1.log.indexOf('polderd starts'))
  expect(node1.log).toContain(RESUMED)
  await b.netns.run('ping', '-c', '1', '-W', '5', a.v4)
  await node1.kill()
  // Used up by a start that failed, say. (It may not have been written again yet.)
  rmSync(path, { force: true })
  await node1.start()
  expect(node1.log).not.toContain(RESUMED)
  await node1.kill()
  writeFileSync(path, remembered)
  await node1.start('--copy-dscp')
  expect(node1.log).not.toContain(RESUMED)
  await b.netns.run('ping', '-c', '1', '-W', '5', a.v4)
})

test('a pod that went while no polderd ran is let go', async () => {
  const path = keeperPath(node1.socket)
  await remembers(a)
  await node1.kill()
  await a.netns[Symbol.asyncDispose]()
  await node1.start()
  expect(node1.log).toContain(RESUMED)
  await until(() => node1.log.includes('a descriptor was kept for something that is gone'), PATIENCE_MS)
  expect(await node1.get('/v1/attachments')).toEqual([])
  expect(keeperPid(path)).toBeDefined()
})

test('a keeper that polderd is told to do without hands over what it has and ends', async () => {
  const path = keeperPath(node1.socket)
  const before = await looks(a)
  await node1.stop()
  await node1.start('--no-keeper')
  await until(() => keeperPid(path) === undefined, PATIENCE_MS)
  expect(await looks(a)).toEqual(before)
  await b.netns.run('ping', '-c', '1', '-W', '5', a.v4)
  await node1.stop()
  await hasNoCarrier(a)
})
