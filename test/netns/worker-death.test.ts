/**
 * The data-path worker dies under traffic: of an exception, of an endless loop, of packets that kill it each time. The
 * polderd of node1 is poisoned from outside (support/poison-preload.ts); nothing in the product knows of it.
 *
 *   pod a ─TUN─ node1, poisoned ═══ VXLAN ═══ node2 ─TUN─ pod b
 */
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'
import type { Seen } from '../support/numbered-udp.ts'
import { LINKTYPE_RAW, readPcap } from '../support/pcap.ts'
import { transfer } from '../support/transfer-run.ts'

const SUPPORT = join(import.meta.dirname, '../support')
const NUMBERED_UDP = join(SUPPORT, 'numbered-udp.ts')
const RATE = 1000
const COUNT = 2000
const PORT = '7100'
const KILLS = 20
const TRANSFER_BYTES = 600_000_000

let cluster: TestCluster
let node: TestNode
let a: Pod
let b: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  node = cluster.nodes[0]!
  const once = join(cluster.folder, 'once')
  mkdirSync(once)
  const options = `--import=file://${SUPPORT}/poison-preload.ts`
  Object.assign(process.env, { NODE_OPTIONS: options, TEST_POLDER_POISON: once })
  // Namespaces are entered and programs started by the time a call returns.
  const started = node.start()
  for (const name of ['NODE_OPTIONS', 'TEST_POLDER_POISON']) delete process.env[name]
  await Promise.all([started, cluster.nodes[1]!.start()])
  ;[a, b] = await Promise.all([node.addPod('a'), cluster.nodes[1]!.addPod('b')])
  await until(async () => (await a.netns.attempt('ping', '-c1', '-W1', b.v4)).code === 0, 20_000)
  // What hides a death that comes early: nobody stands by yet.
  await until(async () => (await threads()) >= 2, 20_000)
})

afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Workers of node1's data path, at work or standing by. */
async function threads(): Promise<number> {
  const folder = `/proc/${node.pid}/task`
  const names = await node.netns.run('sh', '-c', `cat ${folder}/*/comm`)
  return names.split('\n').filter((name) => name.startsWith('polder-datapla')).length
}

/** What was measured, ten times over. */
const LONGEST_GAP_MS = { 'poison-once': 2000, 'poison-throw': 2000, 'poison-loops': 4000 }

/** Numbered datagrams from one pod to the other, and a text after the numbers named. */
async function numbered(from: Pod, to: Pod, ...texts: string[]): Promise<Seen> {
  const receiver = to.netns.spawn(process.execPath, NUMBERED_UDP, 'receive', to.v4, PORT, String(COUNT))
  await until(() => receiver.stderr.includes('listening'), 20_000)
  await from.netns.run(process.execPath, NUMBERED_UDP, 'send', to.v4, PORT, String(COUNT), String(RATE), ...texts)
  await receiver.ended
  return JSON.parse(receiver.stdout) as Seen
}

async function dropped(reason: string): Promise<number> {
  const { drops } = await node.get<Counters>('/v1/counters')
  return drops.find((drop) => drop.reason === reason)?.packets ?? 0
}

const deaths = (): number => node.log.split('another goes on where it stopped').length - 1

interface Case {
  name: string
  text: keyof typeof LONGEST_GAP_MS
  reversed?: true
}
const CASES: Case[] = [
  { name: 'an exception, from a pod', text: 'poison-throw' },
  { name: 'an endless loop, from a pod', text: 'poison-loops' },
  { name: 'an exception, in a train from a peer', text: 'poison-throw', reversed: true },
  { name: 'an endless loop, in a train from a peer', text: 'poison-loops', reversed: true },
]

it.for(CASES)(
  'a packet that kills twice is kept and skipped; none other is lost: $name',
  async ({ text, reversed }) => {
    const before = { deaths: deaths(), poison: await dropped('poison') }
    const folder = join(node.stateDir, 'poison')
    const seen = await (reversed ? numbered(b, a, `1000=${text}`) : numbered(a, b, `1000=${text}`))
    console.log(`${text}${reversed ? ' from a peer' : ''}: ${Math.round(seen.longestGapMs)} ms without packets`)
    expect(seen).toMatchObject({ received: COUNT, doubled: 0, lost: [], texts: [] })
    expect(seen.longestGapMs).toBeLessThan(LONGEST_GAP_MS[text])
    expect(deaths() - before.deaths).toBe(2)
    expect((await dropped('poison')) - before.poison).toBe(1)
    const files = readdirSync(folder).sort()
    const path = join(folder, files.at(-1)!)
    expect(node.log).toContain(path)
    const [packet] = readPcap(path)
    expect(packet!.linktype).toBe(LINKTYPE_RAW)
    expect(Buffer.from(packet!.bytes).toString('latin1').endsWith(text)).toBe(true)
    expect(await node.netns.run('tcpdump', '-nr', path)).toContain(reversed ? 'VXLAN' : `${a.v4}.`)
  },
)

it('a packet that kills once arrives at the second try, once', async () => {
  const before = deaths()
  const seen = await numbered(a, b, '1000=poison-once-9999')
  console.log(`poison-once: ${Math.round(seen.longestGapMs)} ms without packets`)
  expect(seen).toMatchObject({ received: COUNT, doubled: 0, lost: [], texts: ['poison-once-9999'] })
  expect(seen.longestGapMs).toBeLessThan(LONGEST_GAP_MS['poison-once'])
  expect(deaths() - before).toBe(1)
})

it('a pod whose packets kill again and again is dropped for a while, and the others go on', async () => {
  const c = await node.addPod('c')
  const quarantined = (): number => node.log.split('kill the data-path worker again and again').length - 1
  await until(async () => {
    await c.netns.run('bash', '-c', `printf poison-throw > /dev/udp/${b.v4}/9`)
    return quarantined() === 1
  }, 30_000)
  const [before, poison] = [deaths(), await dropped('poison')]
  await c.netns.run('bash', '-c', `for i in {1..100}; do printf poison-throw > /dev/udp/${b.v4}/9; done`)
  await a.netns.run('ping', '-c3', '-i0.2', '-W5', b.v4)
  await until(async () => (await dropped('poison')) >= poison + 100, 20_000)
  expect(deaths() - before).toBeLessThan(3)
  await until(async () => (await c.netns.attempt('ping', '-c1', '-W1', b.v4)).code === 0, 60_000)
  await node.removePod(c)
}, 120_000)

it(`a transfer goes on while the worker dies ${KILLS} times`, async () => {
  const before = deaths()
  const done = transfer(b.netns, b.v4, a.netns, TRANSFER_BYTES)
  for (let i = 0; i < KILLS; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 150))
    const word = `poison-once-${1000 + i}`
    await a.netns.run('bash', '-c', `printf ${word} > /dev/udp/${b.v4}/9`)
    await until(() => deaths() - before > i, 20_000)
  }
  const [server, client] = await done
  expect(server.received).toBe(client.sent)
  expect(client.received).toBe(server.sent)
  expect(server.receivedBytes + client.receivedBytes).toBe(2 * TRANSFER_BYTES)
  expect(deaths() - before).toBe(KILLS)
})

it('a pod is added while the worker hangs, and reaches the others', async () => {
  const before = deaths()
  const netns = await Netns.create('c')
  const numbers = numbered(a, b, '500=poison-loops')
  await until(() => deaths() > before, 20_000)
  await node.cni('ADD', netns.name, netns.path)
  expect((await netns.attempt('ping', '-c1', '-W5', b.v4)).code).toBe(0)
  expect(await numbers).toMatchObject({ received: COUNT, lost: [] })
  await node.cni('DEL', netns.name, netns.path)
  await netns[Symbol.asyncDispose]()
})

it('a worker is not blamed for a busy main thread, a stopped process or a full machine', async () => {
  const before = deaths()
  const hogs = Array.from({ length: 3 }, () => a.netns.spawn(process.execPath, '-e', 'for (;;);'))
  const done = transfer(b.netns, b.v4, a.netns, 30_000_000)
  for (let i = 0; i < 4; i++) {
    process.kill(node.pid, 'SIGUSR2')
    await new Promise((resolve) => setTimeout(resolve, 300))
    process.kill(node.pid, 'SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 200))
    process.kill(node.pid, 'SIGCONT')
  }
  const [server] = await done
  for (const hog of hogs) await hog.end()
  expect(server.receivedBytes).toBe(30_000_000)
  expect(deaths()).toBe(before)
})
