/**
 * Everything at random, for long: kills and takeovers of polderds, kills of workers, keepers and shims, pods in and out,
 * faults of the wire, under traffic that must not notice but by standing still. What it takes is sampled, drawn to
 * build/test-reports/soak.svg, and must stay flat. TEST_POLDER_SEED repeats the choices, TEST_POLDER_SOAK_MINUTES says how
 * long: one minute unless said, an hour with TEST_POLDER_FULL=1.
 *
 *   a ─TUN─ node1 ─veth─ relay ─veth─ node2 ─TUN─ b
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { keeperPath } from '../../daemon/handover/keeper.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'
import { healed, observed, tableOf } from '../support/observation.ts'
import { keeperPid } from '../support/processes.ts'
import { Random } from '../support/random.ts'
import { type Faults, Relay } from '../support/relay.ts'
import { SoakSamples } from '../support/soak-samples.ts'
import { Traffic } from '../support/traffic.ts'

const MINUTES = Number(process.env['TEST_POLDER_SOAK_MINUTES'] ?? (process.env['TEST_POLDER_FULL'] === '1' ? 60 : 1))
const REPORTS = join(import.meta.dirname, '../../build/test-reports')
const CALM_MS = 60_000
const PLAN = {
  bulkMbit: 50,
  connections: 300,
  requestIntervalMs: 200,
  datagramsPerSecond: 1000,
  datagramBytes: 200,
  family: 'v4',
} as const
const FAULTS: Faults[] = [
  { lossPercent: 5 },
  { delayMs: 30, jitterMs: 10 },
  { reorderPercent: 10, holdMs: 5 },
  { duplicatePercent: 10 },
  { corruptPercent: 5 },
  { garblePercent: 5 },
  { rateMbit: 30, queueFrames: 100 },
  { partition: true },
]

let cluster: TestCluster
let nodes: TestNode[]
let relay: Relay
let a: Pod
let b: Pod
const random = Random.fromEnvironment()
let serial = 1000

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  nodes = cluster.nodes
  relay = await Relay.between(cluster)
  for (const node of nodes) {
    const tries = join(cluster.folder, `${node.name}-tries`)
    mkdirSync(tries)
    const preload = `--import=file://${join(import.meta.dirname, '../support/poison-preload.ts')}`
    node.wrapper = ['env', `NODE_OPTIONS=${preload}`, `TEST_POLDER_POISON=${tries}`]
  }
  await cluster.start()
  ;[a, b] = await Promise.all([nodes[0]!.addPod('a'), nodes[1]!.addPod('b')])
})

afterAll(async () => {
  await relay?.[Symbol.asyncDispose]()
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

async function killPolderd(node: TestNode): Promise<void> {
  await node.kill()
  await node.start()
}

async function restartPolderd(node: TestNode): Promise<void> {
  expect(await node.stop()).toBe(0)
  await node.start()
}

async function takeOver(node: TestNode): Promise<void> {
  expect(await node.takeOver()).toBe(0)
}

async function killWorker(node: TestNode): Promise<void> {
  const [from, to] = node === nodes[0] ? [a, b] : [b, a]
  const deaths = (): number => node.log.split('another goes on where it stopped').length - 1
  const before = deaths()
  const word = `poison-once-${1000 + (serial++ % 9000)}`
  await from.netns.run('bash', '-c', `printf ${word} > /dev/udp/${to.v4}/9`)
  await until(() => deaths() > before, CALM_MS)
}

async function killKeeper(node: TestNode): Promise<void> {
  const pid = (await until(() => keeperPid(keeperPath(node.socket)), CALM_MS))!
  process.kill(pid, 'SIGKILL')
  await until(() => (keeperPid(keeperPath(node.socket)) ?? pid) !== pid, CALM_MS)
}

/** As a runtime that is killed takes its plugin along. */
async function killShim(node: TestNode): Promise<void> {
  await using netns = await Netns.create(`shim${serial++}`)
  const about = { CNI_CONTAINERID: netns.name, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0' }
  await node.shim({ CNI_COMMAND: 'ADD', ...about }, {}, (child) => {
    setTimeout(() => child.kill('SIGKILL'), random.between(0, 30))
  })
  await until(async () => (await node.shim({ CNI_COMMAND: 'DEL', ...about })).code === 0, CALM_MS)
}

async function podsInAndOut(node: TestNode): Promise<void> {
  const count = Math.floor(random.between(1, 5))
  const pods = await Promise.all(Array.from({ length: count }, () => node.addPod(`in${serial++}`)))
  const other = node === nodes[0] ? b : a
  for (const { netns } of pods) {
    await until(async () => (await netns.attempt('ping', '-c', '1', '-W', '1', other.v4)).code === 0, CALM_MS)
  }
  await Promise.all(pods.map((pod) => node.removePod(pod)))
}

async function faultOfTheWire(): Promise<void> {
  const faults = random.pick(FAULTS)
  const direction = random.pick(['ab', 'ba', 'both'] as const)
  if (direction === 'both') await relay.set(faults)
  else await relay.setOne(direction, faults)
  await delay(random.between(300, 2000))
  await relay.heal()
}

type Event = [string, (node: TestNode) => Promise<void>]
/** In a long run not in the last third: what leaks slowly shows in a process that lives. */
const ENDS: Event[] = [
  ['polderd killed', killPolderd],
  ['polderd restarted', restartPolderd],
  ['polderd taken over', takeOver],
]
const EVENTS: Event[] = [
  ['worker killed', killWorker],
  ['keeper killed', killKeeper],
  ['shim killed', killShim],
  ['pods in and out', podsInAndOut],
  ['pods in and out', podsInAndOut],
  ['fault of the wire', faultOfTheWire],
  ['fault of the wire', faultOfTheWire],
]

it(
  `${MINUTES} min of everything at random: nothing is lost, and what it takes stays flat`,
  async () => {
    await using traffic = await Traffic.start(a, b, PLAN)
    const samples = new SoakSamples(nodes)
    const counts = new Map<string, { times: number; longest: number }>()
    try {
      while (samples.seconds < MINUTES * 60) {
        const mayEnd = MINUTES < 5 || samples.seconds < MINUTES * 40
        const [name, event] = random.pick(mayEnd ? [...ENDS, ...EVENTS] : EVENTS)
        const node = random.pick(nodes)
        samples.mark(name)
        const seen = await observed(traffic, async () => {
          await event(node)
          await healed(traffic, CALM_MS)
        })
        samples.stall(seen.stallMs)
        await samples.take()
        const { times, longest } = counts.get(name) ?? { times: 0, longest: 0 }
        counts.set(name, { times: times + 1, longest: Math.max(longest, seen.stallMs) })
        expect({ name, lost: seen.connectionsLost, changed: seen.changed }).toEqual({ name, lost: 0, changed: 0 })
        await delay(random.between(0, 500))
      }
    } finally {
      mkdirSync(REPORTS, { recursive: true })
      writeFileSync(
        join(REPORTS, 'soak.svg'),
        samples.chart(`polder soak: ${samples.seconds.toFixed(0)} s of everything at random`),
      )
      console.log(
        tableOf([...counts].map(([event, { times, longest }]) => ({ event, times, 'longest stall ms': longest }))),
      )
    }
    const { bulk, bulkSent, steady, numbered, sent } = await traffic.finish()
    console.log(
      `${(bulk.bytes / 1e9).toFixed(2)} GB; ${steady.answered} answers; UDP: ${sent.sent} sent, ${sent.sent - numbered.received} lost`,
    )
    expect(bulk).toMatchObject({ end: 'clean', bytes: bulkSent.bytes, hash: bulkSent.hash })
    expect(steady).toMatchObject({ connections: PLAN.connections, lost: 0, changed: 0 })
    expect(numbered.changed).toBe(0)
    for (const node of nodes) expect(await node.get('/v1/attachments')).toHaveLength(1)
    expect(samples.grown()).toEqual([])
  },
  MINUTES * 60_000 + 300_000,
)
