/**
 * A kernel VXLAN device as the peer, configured by hand on both sides:
 *
 *   pod ─TUN─ polderd (node1) ─veth─┐                          ┌─ veth ─ namespace `far`, 10.244.9.5
 *                                   ├ bridge ─veth─ `kernel`: vxlan0 + routes
 *
 * Traffic must be right whatever the kernel side offloads: on a veth it leaves checksums partial and super-packets whole.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { connect, Netns } from '../support/netns.ts'
import { transfer } from '../support/transfer-run.ts'

const MTU = '1450'
const MEGABYTES_100 = 100_000_000
const FULL = process.env['TEST_POLDER_FULL'] === '1'
const BYTES = FULL ? 1_000_000_000 : MEGABYTES_100

let cluster: TestCluster
let node: TestNode
let kernel: Netns
let far: Netns
let pod: Pod
const far4 = '10.244.9.5'
const far6 = 'fd00:10:244:9::5'

beforeAll(async () => {
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  kernel = await Netns.create('kernel')
  far = await Netns.create('far')
  await underlayOf(kernel)
  const mac = await vxlanOf(kernel)
  writeNode(mac)
  await cluster.start()
  pod = await node.addPod('pod')
  const [gateway4, gateway6] = (await node.info()).gateways as [string, string]
  const [range4, range6] = (await node.info()).podCIDRs as [string, string]
  await kernel.run('ip', 'route', 'add', range4, 'via', gateway4, 'dev', 'vxlan0', 'onlink')
  await kernel.run('ip', '-6', 'route', 'add', range6, 'via', gateway6, 'dev', 'vxlan0', 'onlink')
  await podOf(kernel, far)
}, 60_000)

afterAll(async () => {
  await pod?.netns[Symbol.asyncDispose]()
  await far?.[Symbol.asyncDispose]()
  await kernel?.[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function underlayOf(netns: Netns): Promise<void> {
  await connect(cluster.underlay, 'tokernel', netns, 'underlay')
  await cluster.underlay.run('ip', 'link', 'set', 'tokernel', 'master', 'underlay')
  await netns.run('ip', 'address', 'add', '198.18.0.9/24', 'dev', 'underlay')
}

/** The device, which sends everything it does not know to node 1; its MAC. */
async function vxlanOf(netns: Netns): Promise<string> {
  const vxlan = ['id', '1', 'dstport', '4789', 'local', '198.18.0.9', 'remote', '198.18.0.1', 'dev', 'underlay']
  await netns.run('ip', 'link', 'add', 'vxlan0', 'mtu', MTU, 'type', 'vxlan', ...vxlan)
  await netns.run('ip', 'address', 'add', '10.244.9.0/32', 'dev', 'vxlan0')
  await netns.run('ip', 'address', 'add', 'fd00:10:244:9::/128', 'dev', 'vxlan0', 'nodad')
  await netns.run('ip', 'link', 'set', 'vxlan0', 'up')
  for (const key of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])
    await netns.run('sysctl', '-qw', `${key}=1`)
  return (await netns.json<{ address: string }[]>('ip', '-j', 'link', 'show', 'vxlan0'))[0]!.address
}

function writeNode(mac: string): void {
  mkdirSync(join(cluster.folder, 'cluster/nodes'), { recursive: true })
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'kernel', annotations: { 'polder/underlay-address': '198.18.0.9', 'polder/vtep-mac': mac } },
    spec: { podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'] },
  }
  writeFileSync(join(cluster.folder, 'cluster/nodes/kernel.yaml'), JSON.stringify(node))
}

/** A pod of the kernel node, behind a veth and routes. */
async function podOf(node: Netns, netns: Netns): Promise<void> {
  await connect(node, 'pod0', netns, 'eth0')
  await node.run('ip', 'address', 'add', '10.244.9.1/32', 'dev', 'pod0')
  await node.run('ip', 'address', 'add', 'fd00:10:244:9::1/128', 'dev', 'pod0', 'nodad')
  await node.run('ip', 'route', 'add', far4, 'dev', 'pod0')
  await node.run('ip', '-6', 'route', 'add', far6, 'dev', 'pod0')
  await netns.run('ip', 'link', 'set', 'eth0', 'mtu', MTU)
  await netns.run('ip', 'address', 'add', `${far4}/32`, 'dev', 'eth0')
  await netns.run('ip', 'address', 'add', `${far6}/128`, 'dev', 'eth0', 'nodad')
  await netns.run('ip', 'route', 'add', 'default', 'via', '10.244.9.1', 'dev', 'eth0', 'onlink')
  await netns.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd00:10:244:9::1', 'dev', 'eth0', 'onlink')
}

describe('ping and fragments, both families, both ways', () => {
  it.each(['56', '1422', '1423', '8000'])('%s bytes', async (bytes) => {
    const ping = ['ping', '-c', '1', '-W', '2', '-M', 'dont', '-s', bytes]
    await pod.netns.run(...ping, far4)
    await far.run(...ping, pod.v4)
    await pod.netns.run(...ping, far6)
    await far.run(...ping, pod.v6)
  })

  it('the node itself reaches the far pod, and the kernel node our pod', async () => {
    await node.netns.run('ping', '-c', '1', '-W', '2', far4)
    await kernel.run('ping', '-c', '1', '-W', '2', pod.v4)
    await kernel.run('ping', '-c', '1', '-W', '2', pod.v6)
  })
})

it('the kernel has learned our MAC by ARP and by neighbour discovery, and asks again when it forgets', async () => {
  const [gateway4, gateway6] = (await node.info()).gateways as [string, string]
  for (const [target, gateway] of [
    [pod.v4, gateway4],
    [pod.v6, gateway6],
  ] as const) {
    await kernel.attempt('ip', 'neigh', 'flush', 'dev', 'vxlan0')
    await far.run('ping', '-c', '1', '-W', '2', target)
    const neighbours = await kernel.json<{ dst: string; lladdr?: string }[]>(
      'ip',
      '-j',
      'neigh',
      'show',
      'dev',
      'vxlan0',
    )
    expect(neighbours.find(({ dst }) => dst === gateway)?.lladdr).toMatch(/^02:/)
  }
})

/** Every setting of the kernel's end of the underlay, and of its vxlan device. */
const OFFLOADS = [
  ['everything on', []],
  ['no segmentation', ['tso', 'off', 'gso', 'off']],
  ['no checksums', ['tx', 'off', 'rx', 'off']],
  ['no receive coalescing', ['gro', 'off']],
  ['nothing at all', ['tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off', 'rx', 'off']],
] as const

describe.each(OFFLOADS)('the kernel side with %s', (_, features) => {
  beforeAll(async () => {
    for (const device of ['underlay', 'vxlan0']) {
      await kernel.run('ethtool', '-K', device, 'tso', 'on', 'gso', 'on', 'gro', 'on', 'tx', 'on', 'rx', 'on')
      if (features.length > 0) await kernel.attempt('ethtool', '-K', device, ...features)
    }
  })

  it.each([
    ['IPv4', () => far4],
    ['IPv6', () => far6],
  ])(
    `carries ${BYTES / 1e6} MB of TCP each way over %s, hashes equal`,
    async (__, address) => {
      const [server, client] = await transfer(far, address(), pod.netns, BYTES)
      expect(server.received).toBe(client.sent)
      expect(client.received).toBe(server.sent)
      expect(server.from).toBe(address() === far4 ? pod.v4 : pod.v6)
    },
    120_000,
  )

  it('carries UDP of every size', async () => {
    for (const [address, own] of [
      [far4, pod.v4],
      [far6, pod.v6],
    ] as const) {
      await udpEcho(far, address, pod.netns)
      await udpEcho(pod.netns, own, far)
    }
  })
})

/** Datagrams of many sizes to an echo server and back, compared. */
async function udpEcho(serve: Netns, address: string, ask: Netns): Promise<void> {
  const program = join(import.meta.dirname, '../support/udp-echo.ts')
  const server = serve.spawn(process.execPath, program, 'serve', address, '7001')
  const printed = await ask.run(process.execPath, program, 'ask', address, '7001')
  await server.end()
  expect(JSON.parse(printed)).toEqual({ lost: [], changed: [] })
}
