/**
 * Nodes on one link, reached through the host's routes instead of VXLAN (`encapsulation` none and auto), and the change
 * from one to the other while pods run.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { type Netns, until } from '../support/netns.ts'
import { transfer } from '../support/transfer-run.ts'

const PATIENCE_MS = 20_000

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let a: Pod
let b: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  for (const [i, node] of cluster.nodes.entries()) {
    await node.netns.run('ip', 'address', 'add', `2001:db8::${i + 1}/64`, 'dev', 'underlay', 'nodad')
  }
  await cluster.start('--encapsulation', 'auto')
  ;[a, b] = await Promise.all([node1.addPod('a'), node2.addPod('b')])
})

afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function ping(from: Netns, to: string, ...flags: string[]): Promise<boolean> {
  return (await from.attempt('ping', '-c', '1', '-W', '5', ...flags, to)).code === 0
}

/** Resolves once pod A's pings to pod B look so on the wire. Each node changes at its own moment, each family at its own. */
async function becomes(look: 'vxlan' | 'plain', target: string): Promise<void> {
  await until(async () => (await seenOnWire(target)) === look, PATIENCE_MS)
}

async function seenOnWire(target: string): Promise<string> {
  const filter = target.includes(':') ? 'udp port 4789 or icmp6[0] = 128' : 'udp port 4789 or icmp[0] = 8'
  const capture = node1.netns.spawn('tcpdump', '-l', '-n', '-c', '1', '-i', 'underlay', filter)
  await until(() => capture.stderr.includes('listening on'))
  const arrived = await ping(a.netns, target)
  // Where it found no way it may not have been on the wire.
  if (!arrived) await capture.end()
  await capture.ended
  if (!arrived) return 'nothing'
  return capture.stdout.includes('VXLAN') ? 'vxlan' : 'plain'
}

/** polderd is started anew with another setting; nothing happens to pods. */
async function change(node: TestNode, encapsulation: string): Promise<void> {
  await node.stop()
  await node.start('--encapsulation', encapsulation)
}

describe('auto, both nodes on one link', () => {
  it('pods reach each other without an envelope, over both families, seen by their own addresses', async () => {
    await becomes('plain', b.v4)
    await becomes('plain', b.v6)
    for (const address of [b.v4, b.v6]) {
      const [server, client] = await transfer(b.netns, address, a.netns, 50_000_000)
      expect(server.received).toBe(client.sent)
      expect(client.received).toBe(server.sent)
      expect([a.v4, a.v6]).toContain(server.from)
    }
  })

  it('nodes reach pods and pods nodes, the other one too', async () => {
    for (const address of [a.v4, b.v4, a.v6, b.v6]) expect(await ping(node1.netns, address)).toBe(true)
    for (const address of [node1.underlayAddress, node2.underlayAddress]) {
      expect(await ping(a.netns, address)).toBe(true)
    }
    expect(await ping(node1.netns, b.v4, '-I', node1.underlayAddress)).toBe(true)
  })

  it('a route that somebody removed comes back', async () => {
    const [range] = (await node2.info()).podCIDRs as [string]
    const show = (): Promise<string> => node1.netns.run('ip', 'route', 'show', range)
    const before = await show()
    expect(before).toContain(`via ${node2.underlayAddress} dev underlay proto 114`)
    await node1.netns.run('ip', 'route', 'del', range, 'proto', '114')
    await until(async () => (await show()) === before, PATIENCE_MS)
  })
})

describe('changed while pods run', () => {
  it('VXLAN on one node is VXLAN for both', async () => {
    await change(node1, 'vxlan')
    await becomes('vxlan', b.v4)
    await becomes('vxlan', b.v6)
    // What goes to B is what node1 decides; node2 hears of it when it reads node1's status.
    const direct = (): Promise<string> => node2.netns.run('ip', 'route', 'show', 'proto', '114', 'dev', 'underlay')
    await until(async () => (await direct()) === '', PATIENCE_MS)
  })

  it('none gives new pods the whole MTU; the old ones go on', async () => {
    await change(node1, 'none')
    await change(node2, 'none')
    await becomes('plain', b.v4)
    await becomes('plain', b.v6)
    const [c, d] = await Promise.all([node1.addPod('c'), node2.addPod('d')])
    try {
      expect(await c.netns.run('ip', 'link', 'show', 'eth0')).toContain('mtu 1500')
      await until(() => ping(c.netns, d.v4, '-M', 'do', '-s', '1472'), PATIENCE_MS)
      expect(await ping(c.netns, d.v6, '-M', 'do', '-s', '1452')).toBe(true)
      expect(await ping(c.netns, b.v4)).toBe(true)
    } finally {
      await c.netns[Symbol.asyncDispose]()
      await d.netns[Symbol.asyncDispose]()
    }
  })
})
