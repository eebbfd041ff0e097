/**
 * The flat network, end to end, without containers: real polderds, the real CNI plugin, real devices (cluster.ts).
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import type { Netns } from '../support/netns.ts'
import { until } from '../support/netns.ts'
import { transfer } from '../support/transfer-run.ts'

const GIGABYTE = 1_000_000_000

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let a: Pod
let b: Pod
let c: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  await cluster.start()
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  ;[a, b, c] = await Promise.all([node1.addPod('a'), node1.addPod('b'), node2.addPod('c')])
})

afterAll(async () => {
  for (const pod of [a, b, c]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function ping(from: Netns, to: string, ...flags: string[]): Promise<string> {
  const { stdout, code } = await from.attempt('ping', '-c', '1', '-W', '5', ...flags, to)
  if (code !== 0) throw new Error(`no answer from ${to}:\n${stdout}`)
  return stdout
}

describe('every pod reaches every other, over both families', () => {
  it('on one node, one hop away', async () => {
    expect(await ping(a.netns, b.v4)).toContain('ttl=63')
    expect(await ping(a.netns, b.v6)).toContain('ttl=63')
  })

  it('on different nodes, two hops away', async () => {
    expect(await ping(a.netns, c.v4)).toContain('ttl=62')
    expect(await ping(c.netns, a.v6)).toContain('ttl=62')
  })

  it('with the largest packet, and with fragments of a larger one', async () => {
    const { mtuBytes } = await node1.info()
    await ping(a.netns, c.v4, '-M', 'do', '-s', String(mtuBytes - 28))
    await ping(a.netns, c.v6, '-M', 'do', '-s', String(mtuBytes - 48))
    await ping(a.netns, c.v4, '-M', 'dont', '-s', '8000')
    await ping(a.netns, c.v6, '-s', '8000')
  })
})

describe('nodes and pods reach each other', () => {
  it('a node its own pods, and they it', async () => {
    await ping(node1.netns, a.v4)
    await ping(node1.netns, a.v6)
    for (const gateway of (await node1.info()).gateways) await ping(a.netns, gateway)
    await ping(a.netns, node1.underlayAddress)
  })

  it("a node another node's pods, and they it", async () => {
    await ping(node1.netns, c.v4)
    await ping(node1.netns, c.v6)
    for (const gateway of (await node1.info()).gateways) await ping(c.netns, gateway)
    await ping(c.netns, node1.underlayAddress)
  })

  it("a process bound to its node's underlay address", async () => {
    await ping(node1.netns, c.v4, '-I', node1.underlayAddress)
  })
})

describe('the network answers as routers do', () => {
  it.each([
    ['IPv4', 0],
    ['IPv6', 1],
  ])('traceroute shows each node as a hop over %s', async (_, family) => {
    const target = [c.v4, c.v6][family]!
    const hops = await Promise.all([node1, node2].map(async (node) => (await node.info()).gateways[family]))
    const printed = await a.netns.run('traceroute', '-n', '-q', '1', '-w', '5', target)
    const seen = [...printed.matchAll(/^\s*\d+\s+(\S+)/gm)].map(([, address]) => address)
    expect(seen).toEqual([...hops, target])
  })

  it('says that there is no such pod, and no such node', async () => {
    const [gateway4, gateway6] = (await node1.info()).gateways
    for (const [address, what] of [
      [gateway4!.replace(/1$/, '200'), 'Destination Host Unreachable'],
      ['10.244.99.1', 'Destination Net Unreachable'],
      [gateway6!.replace(/1$/, '99'), 'Address unreachable'],
      ['fd00:10:244:99::1', 'No route'],
    ] as const) {
      for (const asker of [a.netns, node1.netns]) {
        expect((await asker.attempt('ping', '-c', '1', '-W', '5', address)).stdout).toContain(what)
      }
    }
  })
})

describe('TCP', () => {
  it.each([
    ['IPv4', () => [c.v4, a.v4]],
    ['IPv6', () => [c.v6, a.v6]],
  ])('shows the client by its own address over %s: no NAT', async (_, addresses) => {
    const [server, client] = addresses()
    const [atServer] = await transfer(c.netns, server!, a.netns, 1000)
    expect(atServer.from).toBe(client)
  })

  it('carries a gigabyte in both directions at once, while the underlay shows well-formed VXLAN', async () => {
    const file = join(cluster.folder, 'underlay.pcap')
    const capture = node1.netns.spawn('tcpdump', '-i', 'underlay', '-s', '256', '-c', '4000', '-w', file, 'udp')
    await until(() => capture.stderr.includes('listening on'))
    const before = await dropped()
    const [server, client] = await transfer(c.netns, c.v4, a.netns, GIGABYTE)
    expect(await dropped()).toEqual(before)
    expect(server.receivedBytes).toBe(GIGABYTE)
    expect(server.received).toBe(client.sent)
    expect(client.received).toBe(server.sent)

    expect(await capture.ended).toBe(0)
    const fields = ['vxlan.vni', 'ip.src', 'ip.dst'].flatMap((field) => ['-e', field])
    const shown = await node1.netns.run('tshark', '-r', file, '-T', 'fields', ...fields, '-E', 'separator= ')
    const pairs = new Set(shown.trim().split('\n'))
    const outer = [node1.underlayAddress, node2.underlayAddress]
    expect(pairs).toEqual(
      new Set([`1 ${outer[0]},${a.v4} ${outer[1]},${c.v4}`, `1 ${outer[1]},${c.v4} ${outer[0]},${a.v4}`]),
    )
    expect(await node1.netns.run('tshark', '-r', file, '-Y', '_ws.malformed || !vxlan')).toBe('')
  }, 180_000)
})

describe('coming and going', () => {
  it('20 pods at once, and away again: nothing is left of them', async () => {
    const before = await footprint()
    const pods = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? node1 : node2).addPod(`many${i}`).then((pod) => ({ pod, i }))),
    )
    const all = pods.map(({ pod }) => pod)
    expect(new Set(all.flatMap(({ v4, v6 }) => [v4, v6])).size).toBe(40)
    await Promise.all(all.map(({ v4 }) => ping(a.netns, v4)))
    await Promise.all(pods.map(({ pod, i }) => (i % 2 ? node1 : node2).removePod(pod)))
    await until(async () => expect(await footprint()).toEqual(before) ?? true, 20_000)
  })

  it('a stopped and a killed polderd finds its pods again', async () => {
    for (const end of [() => node1.stop(), () => node1.kill()]) {
      await end()
      await node1.start()
      await ping(a.netns, c.v4)
      await ping(a.netns, b.v6)
      await ping(node1.netns, a.v4)
    }
  })
})

/** What both nodes dropped and nobody should be told of: not the multicasts of a new pod. */
async function dropped(): Promise<unknown> {
  const counters = await Promise.all([node1, node2].map((node) => node.get<Counters>('/v1/counters')))
  return counters.map(({ drops }) => drops.filter(({ reason }) => reason !== 'link-local' && reason !== 'multicast'))
}

/** Everything that a pod could leave behind on a node. */
async function footprint(): Promise<unknown> {
  const of = async (node: TestNode): Promise<unknown> => ({
    links: (await node.netns.run('ip', '-o', 'link')).split('\n').length,
    routes: await node.netns.run('ip', 'route'),
    attachments: ((await node.get('/v1/attachments')) as { containerId: string }[]).map((one) => one.containerId),
    // A released address rests under a name of its own until it has cooled down.
    records: readdirSync(join(node.stateDir, 'attachments')).filter((name) => !name.endsWith('.released')),
    descriptors: descriptors(node.pid).filter((target) => /tun$|netns|^net:/.test(target)).length,
  })
  return Promise.all([node1, node2].map(of))
}

/** What the open descriptors of a process are; one that is closed meanwhile is nothing. */
function descriptors(pid: number): string[] {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(join(folder, fd))
    } catch {
      return ''
    }
  })
}
