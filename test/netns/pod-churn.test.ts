/**
 * Pods in and out, and everything killed meanwhile: the shim in the middle of a call, polderd at any moment (also while it
 * starts), the keeper of its descriptors, the namespace under a pod. Afterwards everything is as before, counted: no address, record, spooled DEL, device,
 * route, rule, file, descriptor, process or memory is left over.
 *
 *   lanes, each with a namespace:  ADD, maybe killed ► maybe the namespace goes ► DEL, maybe killed ► DEL until it succeeds
 *   meanwhile, for each node:      kill -9 of polderd, maybe of its keeper, start
 *
 * TEST_POLDER_FULL=1: 10,000 pods, and at the end polderd has to clear away by itself what nobody deleted; in the short
 * run GC tells it to, and what is only swept after a minute is not counted. The same seed gives the same dice, not the
 * same moments.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keeperPath } from '../../daemon/handover/keeper.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'
import { keeperPid, residentBytes } from '../support/processes.ts'

const FULL = process.env['TEST_POLDER_FULL'] === '1'
const PODS = Number(process.env['TEST_POLDER_PODS'] ?? (FULL ? 10_000 : 500))
const LANES_PER_NODE = 8
/** A shim lives for about this long. */
const KILL_SHIM_WITHIN_MS = 30
const KILL_POLDERD_WITHIN_MS = FULL ? 8_000 : 4_000
/** A released address rests for a minute, what has no namespace goes after half of one, what a killed writer left after both. */
const SETTLE_MS = FULL ? 150_000 : 20_000
const SWEPT_LATER = FULL ? /^$/ : /\.released$|\.polder-[^/]*\.tmp$/
/** Of a polderd that lives through a tenth of the pods; its garbage collector takes what it gets before it collects. */
const GROWTH_BYTES_MAX = 48 * 2 ** 20
const MIB = 2 ** 20

/** What a runtime is told to try again (11), and what it is told where its namespace is gone (4). */
const EXCUSES = [11, 4]

let cluster: TestCluster
let lanes: Lane[]
let serial = 0
let seed = Number(process.env['TEST_POLDER_SEED'] ?? Date.now() % 2 ** 31)
const counts = {
  pods: 0,
  added: 0,
  failed: 0,
  shimsKilled: 0,
  polderdsKilled: 0,
  keepersKilled: 0,
  namespacesTaken: 0,
  neverDeleted: 0,
}

interface Lane {
  node: TestNode
  netns: Netns
}

beforeAll(async () => {
  console.log(`TEST_POLDER_SEED=${seed}`)
  cluster = await TestCluster.create(2)
  // So few addresses that a leak would soon be an error.
  await cluster.start('--node-mask-size-ipv4', '26')
  const fresh = Array.from({ length: 2 * LANES_PER_NODE }, () => Netns.create(`lane${serial++}`))
  lanes = (await Promise.all(fresh)).map((netns, index) => ({ node: cluster.nodes[index % 2]!, netns }))
})

afterAll(async () => {
  for (const { netns } of lanes) await netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Below `limit`; Lehmer's generator (Park and Miller, 1988). */
function random(limit: number): number {
  seed = (seed * 48_271) % (2 ** 31 - 1)
  return seed % limit
}

/** One call; half of them are killed while they run. Resolves to the exit status, -1 where it was killed. */
async function call(command: string, id: string, { node, netns }: Lane, mayKill: boolean): Promise<number> {
  const environment = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0' }
  const { code, stdout } = await node.shim(environment, {}, (child) => {
    if (mayKill && random(2) === 0) setTimeout(() => child.kill('SIGKILL'), random(KILL_SHIM_WITHIN_MS))
  })
  if (code === -1) counts.shimsKilled++
  if (code === 1) expect(EXCUSES, stdout).toContain(JSON.parse(stdout).code)
  return code
}

/** The life of one pod. One in ten loses its namespace, half of these without a DEL ever coming. */
async function live(id: string, lane: Lane): Promise<void> {
  counts.pods++
  const dies = random(10) === 0
  const adding = call('ADD', id, lane, true)
  if (dies) {
    await delay(random(KILL_SHIM_WITHIN_MS))
    await replaceNamespace(lane)
  }
  if ((await adding) === 0) counts.added++
  else counts.failed++
  if (dies && random(2) === 0) {
    counts.neverDeleted++
    return
  }
  let code = await call('DEL', id, lane, true)
  while (code !== 0) code = await call('DEL', id, lane, false)
}

async function replaceNamespace(lane: Lane): Promise<void> {
  counts.namespacesTaken++
  const old = lane.netns
  lane.netns = await Netns.create(`lane${serial++}`)
  await old[Symbol.asyncDispose]()
}

/** All lanes at once, until so many pods have lived. */
async function churn(count: number): Promise<void> {
  let left = count
  const run = async (lane: Lane): Promise<void> => {
    while (left-- > 0) await live(`c${counts.pods}`, lane)
  }
  await Promise.all(lanes.map(run))
}

/** Kills until it is told to stop; the last polderd runs then. */
async function killAgainAndAgain(node: TestNode, stopped: () => boolean): Promise<void> {
  while (!stopped()) {
    await delay(random(KILL_POLDERD_WITHIN_MS))
    const keeper = random(2) === 0 ? keeperPid(keeperPath(node.socket)) : undefined
    if (keeper !== undefined) {
      process.kill(keeper, 'SIGKILL')
      counts.keepersKilled++
    }
    // Some keepers die before their polderd, some while it has just noticed, some with it.
    await delay(random(2) * random(400))
    await node.kill()
    counts.polderdsKilled++
    let running = false
    while (!running) {
      const starting = node.start('--node-mask-size-ipv4', '26').then(
        () => true,
        () => false,
      )
      // One in four does not live to be ready.
      const dies = random(4) === 0
      if (dies) {
        await delay(random(800))
        await node.kill()
        counts.polderdsKilled++
      }
      running = (await starting) && !dies
    }
  }
}

const lines = async (netns: Netns, command: string): Promise<string[]> =>
  (await netns.run('sh', '-c', command)).split('\n').filter((line) => line !== '')

function files(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => !SWEPT_LATER.test(path))
}

/** As a runtime does that knows of no pod. */
async function collectGarbage(): Promise<void> {
  const nothingIsValid = { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] }
  for (const node of cluster.nodes) {
    expect(await node.shim({ CNI_COMMAND: 'GC' }, nothingIsValid)).toEqual({ code: 0, stdout: '', stderr: '' })
  }
}

/** All that a pod could leave behind on a node, each kind by name; numbers where names differ each time. */
async function tracesOf(node: TestNode): Promise<Record<string, string[]>> {
  const routes = "ip route show table all; ip -6 route show table all | sed 's/ expires [^ ]*//'"
  const own = lanes.filter((lane) => lane.node === node).map((lane) => lane.netns)
  const inLanes = await Promise.all(own.map((netns) => lines(netns, `ip -br link | grep -v '^lo'; ${routes}`)))
  return {
    attachments: (await node.get<{ containerId: string }[]>('/v1/attachments')).map((each) => each.containerId),
    records: files(join(node.stateDir, 'attachments')),
    'spooled DELs': files(join(node.stateDir, 'spool')),
    'other files': files(node.stateDir).filter((path) => !/^(attachments|spool)(\/|$)/.test(path)),
    'devices of the node': await lines(node.netns, "ip -br link | awk '{ print $1 }'"),
    'routes of the node': await lines(node.netns, routes),
    'nft rules': await lines(node.netns, 'nft -s list ruleset'),
    'devices and routes of pods': [...new Set(inLanes.flat())],
    descriptors: readdirSync(`/proc/${node.pid}/fd`).map(String),
    'kept descriptors': readdirSync(`/proc/${keeperPid(keeperPath(node.socket))}/fd`).map(String),
    plugins: processesOf(node.cniBinDir),
  }
}

function processesOf(program: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(program)
    } catch {
      return false
    }
  })
}

async function everything(): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {}
  for (const node of cluster.nodes) {
    for (const [kind, found] of Object.entries(await tracesOf(node))) all[`${node.name} ${kind}`] = found
  }
  all['cluster files'] = files(join(cluster.folder, 'cluster'))
  all['namespaces'] = readdirSync('/run/netns').filter((name) => name.startsWith(`polder-t${process.pid}-`))
  return all
}

/** What has names that differ each time counts by number. */
const NUMBERED = /descriptors$|namespaces$/

function comparable(all: Record<string, string[]>): Record<string, string[] | number> {
  return Object.fromEntries(
    Object.entries(all).map(([kind, found]) => [kind, NUMBERED.test(kind) ? found.length : found.sort()]),
  )
}

const memory = (): number[] => cluster.nodes.map(({ pid }) => residentBytes(pid))

/** Resolves once nothing has changed for two seconds: polderd loads a second worker after its start, to stand by. */
async function atRest(): Promise<Record<string, string[]>> {
  let last = await everything()
  let sinceMs = performance.now()
  await until(async () => {
    const now = await everything()
    if (JSON.stringify(comparable(now)) !== JSON.stringify(comparable(last))) sinceMs = performance.now()
    last = now
    return performance.now() - sinceMs > 2000
  }, SETTLE_MS)
  return last
}

/** Waits until all is as before; resolves to what was seen last. */
async function settle(before: Record<string, string[]>): Promise<Record<string, string[]>> {
  let after = await everything()
  const wanted = JSON.stringify(comparable(before))
  await until(async () => {
    after = await everything()
    return JSON.stringify(comparable(after)) === wanted
  }, SETTLE_MS).catch(() => {})
  return after
}

test(`${PODS} pods in and out, with kills of everything, leave everything as before`, {
  timeout: 3_600_000,
}, async () => {
  // Once on each lane, so that what polderd opens with its first pod is open.
  for (const lane of lanes)
    expect([await call('ADD', 'first', lane, false), await call('DEL', 'first', lane, false)]).toEqual([0, 0])
  const before = await atRest()
  for (const { name } of cluster.nodes) {
    expect(before[`${name} attachments`]).toEqual([])
    // The first pods' addresses rest; in the end none does.
    before[`${name} records`] = []
  }
  const startedMs = performance.now()
  let isOver = false
  const killers = cluster.nodes.map((node) => killAgainAndAgain(node, () => isOver))
  await churn(Math.ceil(PODS * 0.8))
  isOver = true
  await Promise.all(killers)

  // From here on polderd lives: what it holds may not grow.
  await churn(Math.ceil(PODS * 0.1))
  const early = memory()
  await churn(Math.ceil(PODS * 0.1))
  const late = memory()
  const seconds = Math.round((performance.now() - startedMs) / 1000)

  if (!FULL) await collectGarbage()
  const after = await settle(before)
  console.log(`${JSON.stringify(counts)} in ${seconds} s`)
  console.log(
    Object.keys(after)
      .map((kind) => `${kind}: ${before[kind]!.length} -> ${after[kind]!.length}`)
      .join('\n'),
  )
  console.log(
    `memory, MiB: ${early.map((bytes, i) => `${Math.round(bytes / MIB)} -> ${Math.round(late[i]! / MIB)}`).join(', ')}`,
  )
  expect(comparable(after)).toEqual(comparable(before))
  for (const [index, bytes] of late.entries()) expect(bytes - early[index]!).toBeLessThan(GROWTH_BYTES_MAX)
  // The test tests something.
  for (const [what, count] of Object.entries(counts)) expect(count, what).toBeGreaterThan(0)
})
