/**
 * The drop reasons that only a device, a socket or the kernel can bring about, each brought about for real. (Those of
 * the path itself: test/packet/path/mutations.test.ts. `bad-offload`: test/netns/security.test.ts, for no kernel does
 * that by itself.)
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { until } from '../support/netns.ts'

let cluster: TestCluster
let node: TestNode
let a: Pod
let b: Pod

/** Peers written by hand: nobody answers at the first one's address, and nothing leads to the second one's. */
const SILENT = { name: 'silent', address: '198.18.0.77', range: '10.244.77.0/24' }
const UNROUTED = { name: 'unrouted', address: '203.0.113.7', range: '10.244.78.0/24' }

beforeAll(async () => {
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  const folder = join(cluster.folder, 'cluster/nodes')
  mkdirSync(folder, { recursive: true })
  for (const { name, address, range } of [SILENT, UNROUTED]) {
    const metadata = { name, annotations: { 'polder/underlay-address': address } }
    const peer = { apiVersion: 'v1', kind: 'Node', metadata, spec: { podCIDRs: [range] } }
    writeFileSync(join(folder, `${name}.yaml`), JSON.stringify(peer))
  }
  // What waits for a neighbour is charged to the socket that sent it: let it wait without bound.
  await node.netns.run('sysctl', '-qw', 'net.ipv4.neigh.underlay.unres_qlen_bytes=1000000000')
  await cluster.start()
  ;[a, b] = await Promise.all([node.addPod('a'), node.addPod('b')])
})

afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function dropped(reason: string): Promise<number> {
  const { drops } = await node.get<Counters>('/v1/counters')
  return drops.find((drop) => drop.reason === reason)?.packets ?? 0
}

/** The worker counts in its own time. */
async function isDropped(reason: string): Promise<void> {
  await until(async () => (await dropped(reason)) > 0, 20_000)
}

const ping = (...flags: string[]) => a.netns.attempt('ping', '-c', '1', '-W', '1', ...flags)

it('peer-unreachable: the kernel has no way to the peer', async () => {
  await ping('10.244.78.5')
  await isDropped('peer-unreachable')
})

it("device-refused: the pod's device is down", async () => {
  await b.netns.run('ip', 'link', 'set', 'eth0', 'down')
  await ping(b.v4)
  await isDropped('device-refused')
})

it('underlay-too-big: the underlay takes less than it did', async () => {
  await node.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1400')
  await ping('-M', 'do', '-s', '1400', '10.244.77.5')
  await isDropped('underlay-too-big')
  await node.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1500')
})

it("socket-full: what was sent waits, and the socket's buffer is used up", async () => {
  const sender = a.netns.spawn(
    process.execPath,
    '-e',
    `const s = require('dgram').createSocket('udp4'); const b = Buffer.alloc(1200)
     const go = () => { for (let i = 0; i < 200; i++) s.send(b, 9, '10.244.77.5'); setImmediate(go) }; go()`,
  )
  await until(async () => (await dropped('socket-full')) > 0, 60_000)
  await sender.end()
})
