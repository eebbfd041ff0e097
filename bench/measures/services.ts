/**
 * What Services cost polder: while thousands of them are loaded, in memory, on a flow's first packet; and how long it
 * takes from a change of an EndpointSlice's file until the data paths of both nodes go by it, seen from a pod on each.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { clusterFolderOf, untilServed } from '../peers/polder.ts'
import { Background, inside, run } from '../processes.ts'
import { ENDPOINTS, listServices, writeService, writeServices, writeSlice } from '../service-list.ts'
import { percentile } from '../statistics.ts'
import type { Measure, Reading, Subject } from './measure.ts'

const PROBE = fileURLToPath(new URL('../service-probe.ts', import.meta.url))
const COST = fileURLToPath(new URL('../service-cost.ts', import.meta.url))
/** As scripts/polderd starts polderd. */
const FLAG = '--max-inlined-bytecode-size-cumulative=3000'
const MOVING = { name: 'moving', address: '10.96.8.8', port: 7000 }
const PORTS = [7001, 7002] as const
const SETTLE_MS = 2000
const CHANGES_A_SECOND = 50
const CHANGE_TIMEOUT_MS = 10_000

export const SERVICES: Measure = {
  name: 'services',
  perFamily: false,

  async describe() {
    return `Services of ${ENDPOINTS} endpoints, in a cluster folder of JSON files that both nodes read; bench/service-probe.ts: a datagram every ms from pods, whose own pauses are in the figures; bench/service-cost.ts: UDP, 64 bytes, CPU time`
  },

  async run(subject) {
    const server = probe(subject.network.sameNode!.netns, 'serve', ...PORTS)
    try {
      await server.untilSays('ready')
      return [...(await loading(subject)), ...(await changes(subject)), ...(await cost(subject))]
    } finally {
      await server.end()
    }
  },
}

const manyOf = ({ services }: Subject): string => `${services.toLocaleString('en')} Services`

function probe(netns: string, ...words: (string | number)[]): Background {
  return new Background(inside(netns, [process.execPath, PROBE, ...words.map(String)]))
}

async function loading(subject: Subject): Promise<Reading[]> {
  const { topology, network } = subject
  const { daemon } = network
  if (daemon === undefined) throw new Error('this peer has no daemon')
  const quietMs = await longestRoundTrip(subject, () => delay(SETTLE_MS))
  const before = await daemon.memory()
  const { services, asked } = listServices(subject.services, network.otherNode!.addresses.ipv4)
  const others = services.filter((one) => one !== asked)
  let loadedMs = 0
  const longestMs = await longestRoundTrip(subject, async () => {
    const begin = performance.now()
    writeServices(clusterFolderOf(topology), [...others, asked])
    await untilServed(network, asked.clusterIP)
    loadedMs = performance.now() - begin
  })
  await delay(SETTLE_MS)
  const memoryMB = (await daemon.memory()).residentMB - before.residentMB
  const many = manyOf(subject)
  return [
    { row: `${many}: written and loaded`, unit: 'ms', value: loadedMs, better: 'less' },
    { row: `${many}: longest round trip meanwhile`, unit: 'ms', value: longestMs, better: 'less' },
    { row: `${many}: longest round trip before`, unit: 'ms', value: quietMs, better: 'less' },
    { row: `${many}: polderd's memory for them`, unit: 'MB', value: memoryMB, better: 'less' },
  ]
}

/** Between two pods of node 1. */
async function longestRoundTrip({ network }: Subject, meanwhile: () => Promise<void>): Promise<number> {
  const prober = probe(network.pod.netns, 'pause', network.sameNode!.addresses.ipv4, PORTS[0])
  try {
    await prober.untilSays('hears')
    await meanwhile()
  } finally {
    await prober.end()
  }
  return JSON.parse(prober.said.trim().split('\n').at(-1)!).longestMs
}

/** The pod stays, its port is another one each time. */
async function changes(subject: Subject): Promise<Reading[]> {
  const { topology, network, seconds } = subject
  const folder = clusterFolderOf(topology)
  const { name, address, port } = MOVING
  const move = (to: number): void =>
    writeSlice(folder, name, [{ name: 'p', port: to, protocol: 'UDP' }], [network.sameNode!.addresses.ipv4])
  move(PORTS[0])
  writeService(folder, name, address, { ports: [{ name: 'p', port, protocol: 'UDP' }] })
  const watchers = [network.pod, network.otherNode!].map(({ netns }) => probe(netns, 'watch', address, port))
  try {
    for (const watcher of watchers) await watcher.untilSays(String(PORTS[0]))
    const times: number[] = []
    for (let i = 1; i <= Math.ceil(seconds * CHANGES_A_SECOND); i++) {
      const begin = Number(process.hrtime.bigint()) / 1e6
      move(PORTS[i % 2]!)
      const seen = await Promise.all(watchers.map((watcher) => untilChanged(watcher, i + 1)))
      times.push(Math.max(...seen) - begin)
    }
    const row = `${manyOf(subject)}: an endpoint changes until both nodes act`
    return [
      { row: `${row}, p50`, unit: 'ms', value: percentile(times, 0.5), better: 'less' },
      { row: `${row}, p99`, unit: 'ms', value: percentile(times, 0.99), better: 'less' },
    ]
  } finally {
    for (const watcher of watchers) await watcher.end()
  }
}

/** When the watcher said its n-th line. */
async function untilChanged(watcher: Background, n: number): Promise<number> {
  for (const end = performance.now() + CHANGE_TIMEOUT_MS; performance.now() < end; await delay(1)) {
    const lines = watcher.said.split('\n')
    if (lines.length > n) return Number(lines[n - 1]!.split(' ')[0])
  }
  throw new Error(`in vain awaited: change ${n - 1} of an endpoint; seen: ${watcher.said}`)
}

async function cost(subject: Subject): Promise<Reading[]> {
  const { podNs, oneNs, manyNs, bytesAnEndpoint, changeUs } = JSON.parse(
    await run([process.execPath, FLAG, COST, String(subject.services)]),
  )
  const many = manyOf(subject)
  return [
    { row: 'JavaScript, first packet of a flow to a pod', unit: 'ns', value: podNs, better: 'less' },
    { row: 'JavaScript, first packet, 1 Service', unit: 'ns', value: oneNs, better: 'less' },
    { row: `JavaScript, first packet, ${many}`, unit: 'ns', value: manyNs, better: 'less' },
    { row: `${many}: tables, an endpoint`, unit: 'B', value: bytesAnEndpoint, better: 'less' },
    { row: `${many}: making tables after a change`, unit: 'µs', value: changeUs, better: 'less' },
  ]
}
