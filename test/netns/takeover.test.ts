/**
 * A new polderd takes over from the one that runs, under numbered datagrams: none is lost, none comes twice, nobody is
 * refused; and where it fails at any point, the one that ran goes on.
 *
 *   a ─ node1 (taken over) ══ VXLAN ══ node2 ─ b
 */
import { readlinkSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connect } from '../../daemon/handover/incoming.ts'
import type { Hello } from '../../daemon/handover/takeover.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'
import { type Arrived, receiveNumbered, sendNumbered } from '../support/paced-udp.ts'

const FULL = process.env['TEST_POLDER_FULL'] === '1'
/** A device queues 5,000: where others take the processors for a while, fewer must do. In each direction. */
const RATE = FULL ? 25_000 : 4_000
const TAKEOVERS = 10
const KILLS = FULL ? 20 : 6

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
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
})

afterEach(async () => {
  for (const pod of [a, b]) await pod.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Numbered datagrams both ways for as long as `work` takes; resolves to what each end saw. */
async function under(rate: number, work: () => Promise<void>): Promise<Arrived[]> {
  // More than can be sent meanwhile: the sender is told to stop, and says how many it sent.
  const ends: [Pod, Pod][] = [
    [a, b],
    [b, a],
  ]
  const receivers = await Promise.all(ends.map(([, to]) => receiveNumbered(to.netns, 9000)))
  const senders = ends.map(([from, to]) => sendNumbered(from.netns, to.v4, 9000, rate))
  await work()
  return Promise.all(receivers.map(async (receiver, i) => receiver.all(await senders[i]!.stop())))
}

/** As a successor on that node would say; its process is one that may be killed. */
function helloLike(node: TestNode): Hello {
  const { pid } = node.netns.spawn('sleep', '1000000')
  const namespaces = ['net', 'pid'].map((kind) => readlinkSync(`/proc/${node.pid}/ns/${kind}`)).join(' ')
  const { name: nodeName, stateDir, clusterFolder } = node
  return { protocol: 1, version: 'of a test', pid, nodeName, stateDir, clusterFolder, namespaces, service: null }
}

test('ten times under load: nothing is lost, nothing comes twice', async () => {
  const pids = new Set([node1.pid])
  const seen = await under(RATE, async () => {
    for (let i = 0; i < TAKEOVERS; i++) {
      expect(await node1.takeOver()).toBe(0)
      pids.add(node1.pid)
    }
  })
  console.log(`${TAKEOVERS} takeovers under ${RATE}/s each way:`, seen)
  expect(pids.size).toBe(TAKEOVERS + 1)
  expect(seen).toMatchObject([
    { lost: 0, doubled: 0 },
    { lost: 0, doubled: 0 },
  ])
  // The node is the new one's altogether.
  const c = await node1.addPod('c')
  await c.netns.run('ping', '-c', '1', '-W', '5', b.v6)
  await node1.removePod(c)
  expect(await node1.info()).toMatchObject({ pid: node1.pid })
})

test('a successor that is killed at any moment leaves the one that ran at work', async () => {
  // The second one finds in its caches what the first had to make.
  await node1.takeOver()
  const startedAt = performance.now()
  await node1.takeOver()
  let lastsMs = performance.now() - startedAt
  let late = 0
  const { pid } = node1
  const seen = await under(RATE, async () => {
    for (let i = 0; i < KILLS; i++) {
      const killAt = performance.now() + (lastsMs * (i + Math.random())) / KILLS
      const successor = node1.spawn('--takeover')
      await until(() => performance.now() > killAt, 60_000)
      successor.killNow()
      await successor.ended
      // After the last word it was no successor any more, but the node's polderd.
      if (node1.running) continue
      late++
      // They take less time than was thought.
      lastsMs *= 0.7
      await node1.start()
    }
    const c = await node1.addPod('c')
    await node1.removePod(c)
  })
  expect(late).toBeLessThan(KILLS / 2)
  expect(seen).toMatchObject([{ doubled: 0 }, { doubled: 0 }])
  if (late > 0) return
  expect(seen).toMatchObject([{ lost: 0 }, { lost: 0 }])
  expect(await node1.info()).toMatchObject({ pid })
  expect(await node1.takeOver()).toBe(0)
})

test('a successor that dies between the stop of one data path and the start of the other leaves nothing lost', async () => {
  const { pid } = node1
  const hello = helloLike(node1)
  const seen = await under(RATE, async () => {
    for (let i = 0; i < KILLS; i++) {
      const successor = await connect(node1.socket)
      successor.send({ ...hello })
      expect(Object.keys((await successor.next())!)).toContain('descriptors')
      successor.send({ hold: true })
      expect(await successor.next()).toEqual({ held: true })
      successor.end()
      await until(() => node1.log.split('this one goes on').length === i + 2)
    }
  })
  expect(seen).toMatchObject([
    { lost: 0, doubled: 0 },
    { lost: 0, doubled: 0 },
  ])
  expect(await node1.info()).toMatchObject({ pid })
})

test('CNI calls during a takeover are answered, by whichever polderd', async () => {
  let over = false
  const calls = (async () => {
    const netns = await Netns.create('churn')
    let done = 0
    for (; !over || done === 0; done++) {
      await node1.cni('ADD', 'churn', netns.path)
      await node1.cni('DEL', 'churn', netns.path)
      await node1.info()
    }
    await netns[Symbol.asyncDispose]()
    return done
  })()
  for (let i = 0; i < 3; i++) expect(await node1.takeOver()).toBe(0)
  over = true
  expect(await calls).toBeGreaterThan(3)
})

test('what cannot be is refused, with the remedy, and changes nothing', async () => {
  const refused = async (...flags: string[]) => {
    const successor = node1.spawn('--takeover', ...flags)
    expect(await successor.ended).toBe(1)
    return successor.stderr
  }
  // The one that was broken off in the test before may still be on its way back.
  await until(async () => !(await refused('--state-dir', `${node1.stateDir}-other`)).includes('is under way'), 20_000)
  expect(await refused('--state-dir', `${node1.stateDir}-other`)).toContain('the running polderd has stateDir')
  expect(await refused('--node-name', 'other')).toContain('the running polderd has nodeName node1, the new one other')
  expect(await refused('--socket', '/tmp/polder-t-nobody.sock')).toContain('no polderd runs that could be taken over')
  expect(await refused('--underlay-address', '192.0.2.9')).toContain('underlay')
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
  const begin = async () => {
    const lines = await connect(node1.socket)
    lines.send({ ...helloLike(node1) })
    if (Object.keys((await lines.next())!).includes('descriptors')) return lines
    lines.end()
    return undefined
  }
  const first = (await until(begin, 20_000))!
  expect(await refused()).toContain('another takeover is under way')
  first.end()
  await until(() => node1.log.includes('this one goes on'))
})

test('--reload returns when the new one is the node, or has failed', async () => {
  const good = node1.spawn('--reload')
  expect(await good.exited).toBe(0)
  const { pid } = await node1.info()
  expect(pid).not.toBe(node1.pid)
  const bad = node1.spawn('--reload', '--underlay-address', '192.0.2.9')
  expect(await bad.exited).toBe(1)
  // An exit may be seen before what was written.
  await until(() => bad.stderr.includes('ended without taking over'))
  expect(await node1.info()).toMatchObject({ pid })
  process.kill(pid, 'SIGTERM')
  await good.ended
})
