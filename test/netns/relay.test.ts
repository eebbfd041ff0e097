/**
 * The wire with faults (support/relay) and the traffic that other tests judge by (support/traffic), proved on each other
 * without polder: each fault is as large as it was set, as counted by the relay and as seen by a receiver.
 *
 *   a 198.18.1.1 ─veth─ wire, relay ─veth─ b 198.18.1.2
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Netns, until } from '../support/netns.ts'
import { type Faults, Relay, type RelayCounts, WIRE_OFFLOADS } from '../support/relay.ts'
import { type NumberedReport, type SentReport, TrafficEnd } from '../support/traffic.ts'

const PER_SECOND = 4000
const DATAGRAMS = 4000
const PAYLOAD_BYTES = 100
/** Of a binomial distribution: one run in some millions falls outside. */
const SIGMAS = 5

let a: Netns
let wire: Netns
let b: Netns
let relay: Relay

beforeAll(async () => {
  ;[a, wire, b] = await Promise.all([Netns.create('a'), Netns.create('wire'), Netns.create('b')])
  // A frame more or less of what the kernel says by itself would give every later one another fate.
  for (const netns of [a, wire, b]) await netns.run('sysctl', '-q', 'net.ipv6.conf.default.disable_ipv6=1')
  for (const [netns, far, near, address] of [
    [a, 'eth0', 'near-a', '198.18.1.1/24'],
    [b, 'eth0', 'near-b', '198.18.1.2/24'],
  ] as const) {
    await wire.run('ip', 'link', 'add', near, 'type', 'veth', 'peer', far, 'netns', netns.name)
    await netns.run('ip', 'link', 'set', far, 'up')
    await wire.run('ip', 'link', 'set', near, 'up')
    await netns.run('ip', 'address', 'add', address, 'dev', far)
    await netns.run('ethtool', '-K', far, ...WIRE_OFFLOADS)
    await wire.run('ethtool', '-K', near, ...WIRE_OFFLOADS)
  }
  for (const [netns, other, address] of [
    [a, b, '198.18.1.2'],
    [b, a, '198.18.1.1'],
  ] as const) {
    const [{ address: mac }] = (await other.json<{ address: string }[]>('ip', '-j', 'link', 'show', 'eth0')) as [
      { address: string },
    ]
    await netns.run('ip', 'neighbour', 'add', address, 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent')
  }
  relay = await Relay.start(wire, 'near-a', 'near-b')
})

afterAll(async () => {
  await relay?.[Symbol.asyncDispose]()
  for (const netns of [a, wire, b]) await netns?.[Symbol.asyncDispose]()
})

interface Seen extends NumberedReport, SentReport {
  counts: RelayCounts
}

/** So many numbered datagrams from a to b, and what the relay counted meanwhile. */
async function numbered(faults: Faults, datagrams = DATAGRAMS): Promise<Seen> {
  await relay.setOne('ab', faults)
  const before = (await relay.stats()).ab
  const receiver = await TrafficEnd.start<NumberedReport>(b, 'numbered-receive', 7003)
  const flow = ['198.18.1.2', 7003, PER_SECOND, PAYLOAD_BYTES]
  const sender = await TrafficEnd.start<SentReport>(a, 'numbered-send', ...flow)
  await until(async () => (await sender.report()).sent >= datagrams, 20_000)
  const { sent, refused } = await sender.finish()
  await until(async () => (await relay.stats()).ab.waiting === 0)
  await relay.setOne('ab', {})
  const after = (await relay.stats()).ab
  const difference = Object.entries(after).map(([name, count]) => [name, count - before[name as keyof RelayCounts]])
  return { ...(await receiver.finish()), sent, refused, counts: Object.fromEntries(difference) as RelayCounts }
}

function expectShare(count: number, of: number, percent: number): void {
  const share = percent / 100
  expect(Math.abs(count - of * share)).toBeLessThan(SIGMAS * Math.sqrt(of * share * (1 - share)))
}

describe('the faults of the relay, as set and as seen', () => {
  it('none: everything arrives, in order, once, unchanged', async () => {
    const { sent, received, duplicates, reordered, changed, counts } = await numbered({})
    expect({ received, duplicates, reordered, changed }).toEqual({
      received: sent,
      duplicates: 0,
      reordered: 0,
      changed: 0,
    })
    expect(counts).toMatchObject({ received: sent, delivered: sent, bytes: sent * (PAYLOAD_BYTES + 42) })
  })

  it('loss', async () => {
    const { sent, received, counts } = await numbered({ lossPercent: 7 })
    expectShare(counts.lost, sent, 7)
    expect(sent - received).toBe(counts.lost)
  })

  it('duplication', async () => {
    const { sent, received, duplicates, counts } = await numbered({ duplicatePercent: 4 })
    expectShare(counts.duplicated, sent, 4)
    expect([received, duplicates]).toEqual([sent, counts.duplicated])
  })

  it('reordering: what is held back is overtaken, and nothing else', async () => {
    const { sent, received, reordered, counts } = await numbered({ reorderPercent: 6, holdMs: 5 })
    expectShare(counts.reordered, sent, 6)
    expect(received).toBe(sent)
    expectShare(reordered, sent, 6)
  })

  it('corruption: one bit, which a checksum sees', async () => {
    const { sent, received, changed, counts } = await numbered({ corruptPercent: 5 })
    expectShare(counts.corrupted, sent, 5)
    expect(changed).toBe(0)
    // Bits that no checksum covers do not matter: none in an IPv4 header or a UDP datagram.
    expect(sent - received).toBe(counts.corrupted)
  })

  it('garbling: one bit, which no checksum sees', async () => {
    const { sent, received, changed, counts } = await numbered({ garblePercent: 5 })
    expectShare(counts.garbled, sent, 5)
    expect(changed).toBe(counts.garbled)
    expect(received).toBe(sent - changed)
  })

  it('delay and jitter: in order, within their limits', async () => {
    await relay.set({ delayMs: 20, jitterMs: 5 })
    const printed = await a.run('ping', '-c', '50', '-i', '0.02', '198.18.1.2')
    const [, least, , most] = /= ([\d.]+)\/([\d.]+)\/([\d.]+)\//.exec(printed)!.map(Number) as number[]
    await relay.heal()
    expect(least).toBeGreaterThanOrEqual(30)
    // The upper limit is the relay's and the machine's: another process may have the CPU.
    expect(most).toBeGreaterThan(38)
    const { sent, received, reordered } = await numbered({ delayMs: 20, jitterMs: 5 })
    expect([received, reordered]).toEqual([sent, 0])
  })

  it('a rate, and a bounded queue before it', async () => {
    const rateMbit = (PER_SECOND * (PAYLOAD_BYTES + 42) * 8) / 1e6 / 4
    const { sent, received, counts } = await numbered({ rateMbit, queueFrames: 50 })
    // A quarter of it, and once the queue.
    expect(received).toBeGreaterThan(sent / 4 - 100)
    expect(received).toBeLessThan(sent / 4 + 200)
    expect(sent - received).toBe(counts.overflowed)
  })

  it('a partition of one direction, begun and ended while it runs', async () => {
    await relay.setOne('ba', { partition: true })
    const before = await relay.stats()
    const { code } = await a.attempt('ping', '-c', '3', '-i', '0.01', '-W', '0.2', '198.18.1.2')
    const after = await relay.stats()
    expect(code).toBe(1)
    expect(after.ab.delivered - before.ab.delivered).toBe(3)
    expect(after.ba.partitioned - before.ba.partitioned).toBe(3)
    await relay.heal()
    await a.run('ping', '-c', '1', '-W', '2', '198.18.1.2')
  })
})

describe('the seed', () => {
  async function arrivedWith(seed: number): Promise<string> {
    await relay[Symbol.asyncDispose]()
    relay = await Relay.start(wire, 'near-a', 'near-b', seed)
    await relay.setOne('ab', { lossPercent: 30 })
    const { stdout } = await a.attempt('ping', '-c', '200', '-i', '0.002', '-W', '0.3', '198.18.1.2')
    return [...stdout.matchAll(/icmp_seq=(\d+)/g)].map(([, number]) => number).join()
  }

  it('decides which frames suffer', async () => {
    const first = await arrivedWith(7)
    expect(await arrivedWith(7)).toBe(first)
    expect(await arrivedWith(8)).not.toBe(first)
  })
})
