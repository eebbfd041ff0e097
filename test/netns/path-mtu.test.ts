/**
 * Path MTU discovery: packets of every size around every limit, with and without don't-fragment, and an underlay whose
 * MTU shrinks under a running transfer.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { until } from '../support/netns.ts'
import { transfer } from '../support/transfer-run.ts'

const IPV4_ICMP_BYTES = 28
const IPV6_ICMP_BYTES = 48
const ENVELOPE_BYTES = 50
const SMALL_UNDERLAY_MTU = 1400

let cluster: TestCluster
let node1: TestNode
let a: Pod
let b: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  await cluster.start()
  node1 = cluster.nodes[0]!
  ;[a, b] = await Promise.all([node1.addPod('a'), cluster.nodes[1]!.addPod('b')])
})

afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Whether a packet of so many bytes, IP header and all, comes back. */
async function comesBack(target: string, bytes: number, discover: 'do' | 'dont'): Promise<boolean> {
  const size = bytes - (target.includes(':') ? IPV6_ICMP_BYTES : IPV4_ICMP_BYTES)
  const { code } = await a.netns.attempt('ping', '-c', '1', '-W', '2', '-M', discover, '-s', String(size), target)
  return code === 0
}

async function tracepath(target: string): Promise<number> {
  const printed = await a.netns.run('tracepath', '-n', '-m', '5', target)
  return Number(/Resume: pmtu (\d+)/.exec(printed)?.[1])
}

describe('on an underlay of 1500', () => {
  it('everything up to 1450 passes whole, everything above in pieces only', async () => {
    for (const target of [b.v4, b.v6]) {
      for (const bytes of [1279, 1280, 1281, 1448, 1449, 1450]) expect(await comesBack(target, bytes, 'do')).toBe(true)
      for (const bytes of [1451, 1452, 1500]) expect(await comesBack(target, bytes, 'do')).toBe(false)
      for (const bytes of [1451, 1500, 4000, 9000]) expect(await comesBack(target, bytes, 'dont')).toBe(true)
    }
  })

  it('tracepath finds 1450', async () => {
    expect(await tracepath(b.v4)).toBe(1450)
    expect(await tracepath(b.v6)).toBe(1450)
  })
})

describe(`on an underlay that shrinks to ${SMALL_UNDERLAY_MTU}`, () => {
  it('a bulk transfer goes on', async () => {
    const running = transfer(b.netns, b.v4, a.netns, 400_000_000)
    const packets = async (): Promise<number> =>
      (await node1.get<{ entrances: { packets: number }[] }>('/v1/counters')).entrances[0]!.packets
    const before = await packets()
    await until(async () => (await packets()) > before + 1000)
    for (const node of cluster.nodes) {
      await node.netns.run('ip', 'link', 'set', 'underlay', 'mtu', String(SMALL_UNDERLAY_MTU))
    }
    const [server, client] = await running
    expect(server.received).toBe(client.sent)
    expect(client.received).toBe(server.sent)
  }, 60_000)

  it('the limit has moved, and is told to who asks', async () => {
    const limit = SMALL_UNDERLAY_MTU - ENVELOPE_BYTES
    for (const target of [b.v4, b.v6]) {
      // The first packet that is too big finds it out and is lost, one on each node's way to the other.
      await until(() => comesBack(target, limit + 1, 'dont'), 10_000)
      expect(await comesBack(target, limit, 'do')).toBe(true)
      expect(await comesBack(target, limit + 1, 'do')).toBe(false)
      for (const bytes of [limit + 1, 1450, 4000]) expect(await comesBack(target, bytes, 'dont')).toBe(true)
      expect(await tracepath(target)).toBe(limit)
    }
  })
})
