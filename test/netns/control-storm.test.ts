/**
 * The data path does not feel a storm in the control plane: EndpointSlices and Services of the cluster folder change ten
 * thousand times a second, as fast as files can be written, while numbered datagrams go from pod to pod through both
 * nodes. None is lost, the API answers, memory does not grow with the number of changes, and in the end every object
 * is known as it was written last.
 *
 *   a ─TUN─ node1 ══ VXLAN ══ node2 ─TUN─ b         both polderds read the folder
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EndpointSlice } from '../../daemon/cluster/service-objects.ts'
import { type Pod, TestCluster } from '../support/cluster.ts'
import { ask, reaches, serveNamed } from '../support/conversations.ts'
import { until } from '../support/netns.ts'
import { residentBytes } from '../support/processes.ts'
import { type NumberedReport, type SentReport, TrafficEnd } from '../support/traffic.ts'

const CHANGES_PER_SECOND = 10_000
const STORM_MS = 4000
const SERVICES = 100
const DATAGRAMS_PER_SECOND = 2000
const PORT = 7003
/** Of one storm more, in each polderd. What a storm brings and takes is garbage; a leak would be the changes' size. */
const GROWTH_BYTES_MAX = 200 << 20
/** In all of the storm, beside whatever else this machine does; what it took is printed. */
const ANSWER_MS_MAX = 5000

let cluster: TestCluster
let a: Pod
let b: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  await cluster.start()
  ;[a, b] = (await Promise.all([cluster.nodes[0]!.addPod('a'), cluster.nodes[1]!.addPod('b')])) as [Pod, Pod]
  for (const kind of ['services', 'endpointslices'])
    mkdirSync(join(cluster.folder, 'cluster', kind, 'default'), { recursive: true })
  for (let i = 0; i < SERVICES; i++) writeService(i)
}, 60_000)
afterAll(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

/** By rename, as an editor saves. */
function put(path: string, object: object): void {
  const file = join(cluster.folder, 'cluster', path)
  writeFileSync(`${file}.new~`, JSON.stringify(object))
  renameSync(`${file}.new~`, file)
}

function writeService(i: number): void {
  const spec = { clusterIP: `10.96.1.${i}`, ports: [{ port: 80, protocol: 'TCP' }] }
  put(`services/default/s${i}.yaml`, { apiVersion: 'v1', kind: 'Service', metadata: { name: `s${i}` }, spec })
}

function writeSlice(i: number, version: number, port: number): void {
  put(`endpointslices/default/s${i}.yaml`, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `s${i}`,
      labels: { 'kubernetes.io/service-name': `s${i}` },
      annotations: { version: String(version) },
    },
    addressType: 'IPv4',
    ports: [{ port, protocol: 'TCP' }],
    endpoints: [{ addresses: [b.v4], nodeName: 'node2', conditions: { ready: version % 3 !== 0 } }],
  })
}

/** Each change is another endpoint; answers how many a second. */
async function storm(): Promise<number> {
  const startedMs = performance.now()
  let changes = 0
  for (let nowMs = 0; nowMs < STORM_MS; nowMs = performance.now() - startedMs) {
    const due = Math.min((nowMs / 1000) * CHANGES_PER_SECOND, changes + 500)
    for (; changes < due; changes++) writeSlice(changes % SERVICES, changes, 1024 + (changes % 1000))
    await delay(1)
  }
  return Math.round(changes / ((performance.now() - startedMs) / 1000))
}

/** The longest time that an answer of either polderd took, until `ended`. */
async function longestAnswerMs(ended: () => boolean): Promise<number> {
  let longestMs = 0
  while (!ended()) {
    for (const node of cluster.nodes) {
      const askedMs = performance.now()
      await node.info()
      longestMs = Math.max(longestMs, performance.now() - askedMs)
    }
    await delay(50)
  }
  return Math.round(longestMs)
}

it('ten thousand changes a second: no datagram is lost, the API answers, memory stays, all is known in the end', async () => {
  const server = await serveNamed(b.netns, 'b')
  await using receiver = await TrafficEnd.start<NumberedReport>(b.netns, 'numbered-receive', PORT)
  await using sender = await TrafficEnd.start<SentReport>(
    a.netns,
    'numbered-send',
    b.v4,
    PORT,
    DATAGRAMS_PER_SECOND,
    200,
  )
  const bytes: number[][] = []
  for (let round = 0; round < 3; round++) {
    let isOver = false
    const [rate, answerMs] = await Promise.all([storm().finally(() => (isOver = true)), longestAnswerMs(() => isOver)])
    for (let i = 0; i < SERVICES; i++) writeSlice(i, 1_000_001 + round * 3, 8080)
    await until(() => isKnown(String(1_000_001 + round * 3)), 60_000)
    bytes.push(cluster.nodes.map(({ pid }) => residentBytes(pid)))
    const { longestGapMs } = await receiver.report()
    const resident = bytes
      .at(-1)!
      .map((each) => `${Math.round(each / 2 ** 20)} MB`)
      .join(', ')
    console.log(
      `${rate} changes a second; API at most ${answerMs} ms; UDP gap ${Math.round(longestGapMs)} ms; ${resident}`,
    )
    expect(answerMs).toBeLessThan(ANSWER_MS_MAX)
  }
  const { sent, refused } = await sender.finish()
  await until(async () => (await receiver.report()).received === sent, 20_000)
  const { received, duplicates, changed } = await receiver.finish()
  expect({ lost: sent - received, duplicates, changed, refused }).toEqual({
    lost: 0,
    duplicates: 0,
    changed: 0,
    refused: 0,
  })
  for (const [i] of cluster.nodes.entries()) expect(bytes[2]![i]! - bytes[1]![i]!).toBeLessThan(GROWTH_BYTES_MAX)
  await reaches(a.netns, '10.96.1.7', 80, /^b /)
  expect(await ask(a.netns, `10.96.1.${SERVICES - 1}`, 80)).toEqual([`b ${a.v4}`])
  await server.end()
}, 180_000)

async function isKnown(version: string): Promise<boolean> {
  for (const node of cluster.nodes) {
    const slices = await node.get<EndpointSlice[]>('/v1/objects/EndpointSlice')
    if (slices.length !== SERVICES) return false
    if (slices.some(({ metadata }) => metadata.annotations?.['version'] !== version)) return false
  }
  return true
}
