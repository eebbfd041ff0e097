/**
 * The flow table on real nodes: it outlives polderd, and who came through another node is answered through it.
 *
 *   client ── node1 ══ node2 ── pod        client has an address beyond the cluster and a route to the pods
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { FlowsAnswer } from '../../daemon/api/types.ts'
import type { FlowRecord } from '../../packet/tables/flow-list.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { connect, Netns, until } from '../support/netns.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const SERVER = `require('node:net').createServer((socket) => socket.pipe(socket)).listen(7, '::', () => console.log('listening'))`
/** Sends a line every 20 ms, one at a time, and prints each that came back. */
const CLIENT = `const socket = require('node:net').connect(7, process.argv[1])
let line = 0
const next = () => socket.write(String(++line) + ' ')
socket.on('connect', next).on('data', (text) => { console.log(String(text)); setTimeout(next, 20) })
socket.on('error', (error) => console.log(error.code)).on('close', () => console.log('closed'))`

let cluster: TestCluster
let one: TestNode
let two: TestNode
let near: Pod
let far: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[one, two] = cluster.nodes as [TestNode, TestNode]
  await cluster.start()
  near = await one.addPod('near')
  far = await two.addPod('far')
})
afterAll(async () => {
  for (const pod of [near, far]) await pod?.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

const flowsOf = async (node: TestNode, narrow: string): Promise<FlowRecord[]> =>
  (await node.get<FlowsAnswer>(`/v1/flows?${narrow}`)).flows

for (const family of ['v4', 'v6'] as const) {
  it(`a TCP connection is one flow on both nodes, and stays it when polderd is killed (IP${family})`, async () => {
    const server = far.netns.spawn(NODE, '-e', SERVER)
    await until(() => server.stdout.includes('listening'))
    const client = near.netns.spawn(NODE, '-e', CLIENT, far[family])
    await until(() => client.stdout.split('\n').length > 5)
    const narrow = `port=7&address=${near[family]}`
    const before = await Promise.all([one, two].map((node) => flowsOf(node, narrow)))
    expect(before).toMatchObject([
      [{ protocol: 6, state: 'established', origin: 'pod', source: { address: near[family] } }],
      [{ protocol: 6, state: 'established', origin: one.underlayAddress, destination: { address: far[family] } }],
    ])
    for (const node of [one, two]) {
      await node.kill()
      await node.start()
    }
    const lines = client.stdout.split('\n').length
    await until(() => client.stdout.split('\n').length > lines + 5, 20_000)
    const after = await Promise.all([one, two].map((node) => flowsOf(node, narrow)))
    for (const i of [0, 1]) {
      expect(after[i]).toMatchObject([{ state: 'established', origin: before[i]![0]!.origin }])
      expect(after[i]![0]!.ageSeconds).toBeGreaterThan(before[i]![0]!.ageSeconds)
      expect(after[i]![0]!.replyPackets).toBeGreaterThan(before[i]![0]!.replyPackets)
    }
    expect(client.stdout).not.toMatch(/[a-z]/i)
    await client.end()
    await server.end()
    await until(async () => (await flowsOf(one, narrow)).every(({ state }) => state !== 'established'))
  }, 60_000)
}

describe('who comes from beyond the cluster', () => {
  it('a process bound to any address of its node reaches pods of others, and is answered', async () => {
    await one.netns.run('ip', 'address', 'add', '203.0.113.1/32', 'dev', 'lo')
    await one.netns.run('ip', 'address', 'add', '2001:db8::1/128', 'dev', 'lo')
    await one.netns.run('ping', '-c', '2', '-W', '5', '-I', '203.0.113.1', far.v4)
    await one.netns.run('ping', '-c', '2', '-W', '5', '-I', '2001:db8::1', far.v6)
    expect(await flowsOf(two, 'address=203.0.113.1')).toMatchObject([{ origin: one.underlayAddress, replyPackets: 2 }])
  })

  it('a client behind a node keeps its address, and is answered through that node', async () => {
    await using client = await Netns.create('client')
    await connect(client, 'eth0', one.netns, 'toclient')
    for (const [mine, theirs, pods] of [
      ['203.0.113.66/30', '203.0.113.65/30', '10.244.0.0/16'],
      ['2001:db8:1::2/64', '2001:db8:1::1/64', 'fd00:10:244::/48'],
    ] as const) {
      await client.run('ip', 'address', 'add', mine, 'dev', 'eth0')
      await one.netns.run('ip', 'address', 'add', theirs, 'dev', 'toclient')
      await client.run('ip', 'route', 'add', pods, 'via', theirs.split('/')[0]!)
    }
    await client.run('ping', '-c', '2', '-W', '5', far.v4)
    await client.run('ping', '-c', '2', '-W', '5', far.v6)
    const [flow] = await flowsOf(two, 'address=203.0.113.66')
    expect(flow).toMatchObject({ source: { address: '203.0.113.66' }, origin: one.underlayAddress, replyPackets: 2 })
    expect(await flowsOf(one, 'address=203.0.113.66')).toMatchObject([{ origin: 'host', replyPackets: 2 }])
  })
})

it('polder flows lists them, narrowed down as asked', async () => {
  await near.netns.run('ping', '-c', '1', '-W', '5', far.v4)
  const polder = new URL('../../scripts/polder', import.meta.url).pathname
  const list = await one.netns.run(polder, '--socket', one.socket, 'flows', '--protocol', 'icmp', '--address', far.v4)
  const [header, ...rows] = list.trim().split('\n')
  expect(header).toMatch(/^NODE +PROTOCOL +STATE +FROM +TO +ENTERED +SENT +ANSWERED +AGE +FORGOTTEN IN$/)
  const row = rows.find((text) => text.includes(near.v4))
  expect(row).toMatch(/^node1 +icmp +answered +[\d.]+ +[\d.]+ +pod +1 \(84 B\) +1 \(84 B\) +\d+s +\d+s$/)
  const none = await one.netns.run(polder, '--socket', one.socket, 'flows', '--address', '192.0.2.99')
  expect(none).toBe('No flows.\n')
  const wrong = await one.netns.attempt(polder, '--socket', one.socket, 'flows', '--protocol', 'smtp')
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('Use icmp, tcp, udp')])
})
