/**
 * Connections whose addresses are translated outlive polderd: transfers through a ClusterIP, a node port from outside and a
 * host port from outside run while both polderds are killed, and not a byte is lost. And what a node port shows to an
 * endpoint behind a kernel VXLAN device: this node's second address, for that one would answer past the node.
 *
 *   client ── node1 [near] ══ node2 [b]          foreign: kernel vxlan0, 10.244.9.5
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { ask, reaches, serveNamed } from '../support/conversations.ts'
import { connect, Netns, until } from '../support/netns.ts'
import { type BulkReport, TrafficEnd } from '../support/traffic.ts'

const OUTSIDE = '203.0.113.1'
const MBIT = 100

let cluster: TestCluster
let one: TestNode
let two: TestNode
let client: Netns
let foreign: Netns
const pods: Record<string, Pod> = {}

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[one, two] = cluster.nodes as [TestNode, TestNode]
  foreign = await Netns.create('foreign')
  await connect(cluster.underlay, 'toforeign', foreign, 'underlay')
  await cluster.underlay.run('ip', 'link', 'set', 'toforeign', 'master', 'underlay')
  await foreign.run('ip', 'address', 'add', '198.18.0.9/24', 'dev', 'underlay')
  write('nodes/foreign.yaml', await foreignNode())
  await cluster.start()
  client = await Netns.create('client')
  await connect(client, 'eth0', one.netns, 'toclient')
  await client.run('ip', 'address', 'add', '203.0.113.2/30', 'dev', 'eth0')
  await one.netns.run('ip', 'address', 'add', `${OUTSIDE}/30`, 'dev', 'toclient')
  pods['near'] = await one.addPod('near')
  pods['b'] = await two.addPod('b')
}, 60_000)
afterAll(async () => {
  for (const pod of Object.values(pods)) await pod.netns[Symbol.asyncDispose]()
  await client?.[Symbol.asyncDispose]()
  await foreign?.[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

/** A VXLAN device by hand, with a server's address behind it; what the cluster is told of it. */
async function foreignNode(): Promise<object> {
  const vxlan = ['id', '1', 'dstport', '4789', 'local', '198.18.0.9', 'remote', '198.18.0.1', 'dev', 'underlay']
  await foreign.run('ip', 'link', 'add', 'vxlan0', 'mtu', '1450', 'type', 'vxlan', ...vxlan)
  await foreign.run('ip', 'address', 'add', '10.244.9.0/32', 'dev', 'vxlan0')
  await foreign.run('ip', 'address', 'add', '10.244.9.5/32', 'dev', 'lo')
  await foreign.run('ip', 'link', 'set', 'vxlan0', 'up')
  const [link] = await foreign.json<{ address: string }[]>('ip', '-j', 'link', 'show', 'vxlan0')
  const annotations = { 'polder/underlay-address': '198.18.0.9', 'polder/vtep-mac': link!.address }
  const spec = { podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'] }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name: 'foreign', annotations }, spec }
}

function write(path: string, object: object): void {
  const file = join(cluster.folder, 'cluster', path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, stringify(object))
}

/** `name` at 10.96.0.70+, with one endpoint. */
function serve(name: string, clusterIP: string, nodePort: number, port: number, endpoint: string): void {
  const spec = { type: 'NodePort', clusterIP, ports: [{ port, protocol: 'TCP', nodePort }] }
  write(`services/default/${name}.yaml`, { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec })
  write(`endpointslices/default/${name}.yaml`, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ port, protocol: 'TCP' }],
    endpoints: [{ addresses: [endpoint] }],
  })
}

it('transfers go on while both polderds are killed, again and again, with not a byte lost', async () => {
  const runtimeConfig = { portMappings: [{ hostPort: 8088, containerPort: 7001 }] }
  pods['web'] = await one.addPod('web', { runtimeConfig })
  const [near, b, web] = [pods['near']!, pods['b']!, pods['web']]
  serve('bulk', '10.96.0.70', 30_701, 7001, b.v4)
  serve('outer', '10.96.0.71', 30_702, 7002, b.v4)
  const ways = [
    { server: b.netns, port: 7001, from: near.netns, address: '10.96.0.70', at: 7001 },
    { server: b.netns, port: 7002, from: client, address: OUTSIDE, at: 30_702 },
    { server: web.netns, port: 7001, from: client, address: OUTSIDE, at: 8088 },
  ]
  await using stack = new AsyncDisposableStack()
  const receivers: TrafficEnd<BulkReport>[] = []
  for (const { server, port } of ways) {
    receivers.push(stack.use(await TrafficEnd.start<BulkReport>(server, 'bulk-receive', port)))
  }
  const senders: TrafficEnd<BulkReport>[] = []
  for (const { from, address, at } of ways) {
    senders.push(
      stack.use(await until(() => TrafficEnd.start<BulkReport>(from, 'bulk-send', address, at, MBIT), 20_000)),
    )
  }
  for (let round = 0; round < 3; round++) {
    for (const node of [one, two]) {
      await delay(300)
      await node.kill()
      await node.start()
      const before = await Promise.all(receivers.map((end) => end.report()))
      await until(async () => {
        const now = await Promise.all(receivers.map((end) => end.report()))
        return now.every(({ bytes }, i) => bytes > before[i]!.bytes + 1_000_000)
      }, 30_000)
    }
  }
  const sent = await Promise.all(senders.map((end) => end.finish()))
  const received = await Promise.all(receivers.map((end) => end.finish()))
  for (const [i, { bytes, hash, end }] of received.entries()) {
    expect([bytes, hash, end]).toEqual([sent[i]!.bytes, sent[i]!.hash, 'clean'])
  }
}, 180_000)

it('an endpoint behind a kernel VXLAN device sees the second address of the node that the client came to', async () => {
  const { gateways, podCIDRs } = await one.info()
  await foreign.run('ip', 'route', 'add', podCIDRs[0]!, 'via', gateways[0]!, 'dev', 'vxlan0', 'onlink')
  const server = await serveNamed(foreign, 'foreign')
  serve('abroad', '10.96.0.72', 30_703, 8080, '10.244.9.5')
  await reaches(client, OUTSIDE, 30_703, /^foreign /)
  const second = gateways[0]!.replace(/\.1$/, '.2')
  expect(await ask(client, OUTSIDE, 30_703, 3)).toEqual(Array(3).fill(`foreign ${second}`))
  expect(await ask(pods['near']!.netns, '10.96.0.72', 8080)).toEqual([`foreign ${pods['near']!.v4}`])
  await server.end()
}, 60_000)
