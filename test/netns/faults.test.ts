/**
 * The fault matrix: what TCP and UDP between pods of two nodes see while the wire between the nodes is bad in one way,
 * and that all of it heals without a restart. The traffic is the same all the time: one paced TCP transfer, TCP
 * connections with small requests, numbered UDP. The wire is support/relay.
 *
 *   pod a ─TUN─ polderd (node1) ─veth─ relay ─veth─ polderd (node2) ─TUN─ pod b
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { healed, type Observation, observe, tableOf } from '../support/observation.ts'
import { type Direction, type Faults, Relay } from '../support/relay.ts'
import { Traffic } from '../support/traffic.ts'

const FULL = process.env['TEST_POLDER_FULL'] === '1'
const WINDOW_MS = FULL ? 10_000 : 1000
const HEAL_MS = 20_000
const PLAN = {
  bulkMbit: 100,
  connections: 50,
  requestIntervalMs: 100,
  datagramsPerSecond: 2000,
  datagramBytes: 200,
} as const

interface Row {
  name: string
  faults: Faults
  /** Both, unless said. */
  direction?: Direction
  /** Looks into the packet: for both families in the short run too. */
  inside?: true
  /** What must be true of the window, beside what is asked of all. */
  sees: (seen: Observation) => void
}

/** How often is looked for datagrams that are on their way. */
const LOOKS = 10

const between = (value: number, least: number, most: number): void => {
  expect(value).toBeGreaterThanOrEqual(least)
  expect(value).toBeLessThanOrEqual(most)
}
/** About so many percent of the datagrams, generously: the matrix is about polder, the relay has its own test. */
const loses = (percent: number) => (seen: Observation) => between(seen.udpLostPercent, percent / 2, percent * 2)
/** What was on its way when the window began arrives in it. */
const losesNothing = (seen: Observation): void => between(seen.udpLostPercent, -3, 1)

const MATRIX: Row[] = [
  { name: 'nothing', faults: {}, inside: true, sees: losesNothing },
  { name: 'loss 3 %', faults: { lossPercent: 3 }, sees: loses(3) },
  { name: 'loss 10 %', faults: { lossPercent: 10 }, sees: loses(10) },
  { name: 'loss 10 %, one way', faults: { lossPercent: 10 }, direction: 'ba', sees: losesNothing },
  { name: 'delay 50 ms', faults: { delayMs: 50 }, sees: (seen) => between(seen.stallMs, 100, Infinity) },
  { name: 'delay 30 ms, jitter 25 ms', faults: { delayMs: 30, jitterMs: 25 }, sees: () => undefined },
  {
    name: 'reordering 10 %',
    faults: { reorderPercent: 10, holdMs: 5 },
    sees: (seen) => {
      losesNothing(seen)
      between(seen.udpReordered, seen.udpSent * 0.05, seen.udpSent * 0.2)
    },
  },
  {
    name: 'duplication 10 %',
    faults: { duplicatePercent: 10 },
    sees: (seen) => {
      losesNothing(seen)
      between(seen.udpDuplicates, seen.udpSent * 0.05, seen.udpSent * 0.2)
    },
  },
  { name: 'corruption 5 %', faults: { corruptPercent: 5 }, sees: loses(5) },
  { name: 'garbled inside 5 %', faults: { garblePercent: 5 }, inside: true, sees: loses(5) },
  {
    name: '20 Mbit/s, a queue of 100',
    faults: { rateMbit: 20, queueFrames: 100 },
    sees: (seen) => between(seen.tcpMbit, 1, 20),
  },
  {
    name: 'everything at once',
    faults: {
      lossPercent: 2,
      delayMs: 10,
      jitterMs: 5,
      reorderPercent: 5,
      holdMs: 5,
      duplicatePercent: 5,
      corruptPercent: 2,
      garblePercent: 2,
    },
    inside: true,
    sees: () => undefined,
  },
  {
    name: 'one-way partition',
    faults: { partition: true },
    direction: 'ab',
    sees: (seen) => expect(seen.udpLostPercent).toBeGreaterThan(90),
  },
  { name: 'partition of the way back', faults: { partition: true }, direction: 'ba', sees: losesNothing },
  { name: 'partition', faults: { partition: true }, sees: (seen) => expect(seen.udpLostPercent).toBeGreaterThan(90) },
]

let cluster: TestCluster
let nodes: TestNode[]
let relay: Relay
let pods: Pod[]

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  nodes = cluster.nodes
  relay = await Relay.between(cluster)
  await cluster.start()
  pods = await Promise.all(nodes.map((node, i) => node.addPod(`pod${i + 1}`)))
})

afterAll(async () => {
  await relay?.[Symbol.asyncDispose]()
  for (const pod of pods ?? []) await pod.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

/** How many were sent and are not there. Some are only on their way: of several looks, the least is nearest. */
async function missing(traffic: Traffic): Promise<number> {
  let least = Infinity
  for (let i = 0; i < LOOKS; i++) {
    const { sent, numbered } = await traffic.report()
    least = Math.min(least, sent.sent - numbered.received)
  }
  return least
}

/** What both nodes dropped for a fault of the packet's, by reason. */
async function drops(): Promise<Record<string, number>> {
  const sum: Record<string, number> = {}
  for (const node of nodes) {
    for (const { reason, packets } of (await node.get<Counters>('/v1/counters')).drops) {
      sum[reason] = (sum[reason] ?? 0) + packets
    }
  }
  return sum
}

describe.each(['v4', 'v6'] as const)('while the wire is bad, over IP%s inside', (family) => {
  it('TCP and UDP see the fault and nothing else, and all heals without a restart', async () => {
    const before = nodes.map(({ pid }) => pid)
    await using traffic = await Traffic.start(pods[0]!, pods[1]!, { ...PLAN, family })
    const rows: Record<string, string | number>[] = []
    let clean: Observation | undefined
    const rowsToSee = FULL || family === 'v4' ? MATRIX : MATRIX.filter(({ inside }) => inside)
    for (const { name, faults, direction, sees } of rowsToSee) {
      const missingBefore = await missing(traffic)
      if (direction === undefined) await relay.set(faults)
      else await relay.setOne(direction, faults)
      const window = await observe(traffic, WINDOW_MS)
      await relay.heal()
      const healMs = await healed(traffic, HEAL_MS)
      // What is missing now is lost, not only late.
      const lost = (await missing(traffic)) - missingBefore
      const seen = { ...window, udpLostPercent: (lost / window.udpSent) * 100 }
      clean ??= seen
      rows.push(rowOf(name, seen, clean, healMs))
      try {
        expect(seen).toMatchObject({ changed: 0, connectionsLost: 0 })
        sees(seen)
      } catch (error) {
        throw new Error(`${name}:\n${tableOf(rows)}`, { cause: error })
      }
    }
    const { bulk, bulkSent, steady, numbered } = await traffic.finish()
    console.log(`${tableOf(rows)}\ndropped by the nodes: ${JSON.stringify(await drops())}`)
    expect(bulk.end).toBe('clean')
    expect(bulk.bytes).toBe(bulkSent.bytes)
    expect(bulk.hash).toBe(bulkSent.hash)
    expect([steady.lost, steady.changed, numbered.changed]).toEqual([0, 0, 0])
    expect(nodes.map(({ pid }) => pid)).toEqual(before)
    for (const node of nodes) expect(node.log).not.toMatch(/"level":(50|60)/)
  }, 600_000)
})

function rowOf(name: string, seen: Observation, clean: Observation, healMs: number): Record<string, string | number> {
  return {
    fault: name,
    'TCP ratio': `${((seen.tcpMbit / clean.tcpMbit) * 100).toFixed(0)} %`,
    requests: seen.answered,
    'longest ms': seen.stallMs,
    ended: seen.connectionsLost,
    'UDP sent': seen.udpSent,
    'lost %': seen.udpLostPercent,
    doubled: seen.udpDuplicates,
    overtaken: seen.udpReordered,
    'gap ms': seen.udpGapMs,
    changed: seen.changed,
    'well after ms': healMs,
  }
}
