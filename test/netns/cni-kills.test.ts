/**
 * ADD and DEL again and again while the shim, and polderd too, are killed at random moments: as a runtime that is killed
 * takes its plugins along. Afterwards everything is as before: no address, record, device, route, descriptor or process
 * is left over.
 *
 *   8 lanes, each with a namespace of its own:   ADD, maybe killed  ->  DEL, maybe killed  ->  DEL until it succeeds
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'

const FULL = process.env['TEST_POLDER_FULL'] === '1'
const ROUNDS = 1_000
const LANES = 8
/** A shim lives for about this long. */
const KILL_WITHIN_MS = 30

let cluster: TestCluster
let node: TestNode
let pods: Netns[]
let seed = Number(process.env['TEST_POLDER_SEED'] ?? Date.now() % 2 ** 31)

beforeAll(async () => {
  console.log(`TEST_POLDER_SEED=${seed}`)
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  await cluster.start()
  pods = await Promise.all(Array.from({ length: LANES }, (_, lane) => Netns.create(`lane${lane}`)))
})

afterAll(async () => {
  for (const pod of pods) await pod[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Below `limit`; Lehmer's generator (Park and Miller, 1988). */
function random(limit: number): number {
  seed = (seed * 48_271) % (2 ** 31 - 1)
  return seed % limit
}

/** All that a round could leave behind. */
async function everything(): Promise<object> {
  const looks = (netns: Netns) =>
    Promise.all(
      ['link', 'address', 'route show table all', '-6 route show table all'].map((what) =>
        netns.run('sh', '-c', `ip ${what} | sed 's/ \\(expires\\|qlen\\) .*//'`),
      ),
    )
  const files = (folder: string) =>
    readdirSync(join(node.stateDir, folder)).filter((name) => !name.endsWith('.released'))
  return {
    namespaces: await Promise.all([node.netns, ...pods].map(looks)),
    attachments: await node.get('/v1/attachments'),
    records: files('attachments'),
    descriptors: readdirSync(`/proc/${node.pid}/fd`).length,
    shims: shims(),
  }
}

/** Processes that run this node's plugin. */
function shims(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(node.cniBinDir)
    } catch {
      return false
    }
  })
}

/** One call; half of them are killed while they run. Resolves to the exit status, -1 where it was killed. */
async function call(command: string, id: string, netns: string, mayKill: boolean): Promise<number> {
  const environment = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0' }
  const { code, stdout } = await node.shim(environment, {}, (child) => {
    if (mayKill && random(2) === 0) setTimeout(() => child.kill('SIGKILL'), random(KILL_WITHIN_MS))
  })
  // Only a polderd that was killed itself is an excuse.
  if (code === 1) expect(JSON.parse(stdout).code, stdout).toBe(11)
  return code
}

async function round(id: string, { path }: Netns, counts: Map<number, number>): Promise<void> {
  const added = await call('ADD', id, path, true)
  counts.set(added, (counts.get(added) ?? 0) + 1)
  let code = await call('DEL', id, path, true)
  while (code !== 0) code = await call('DEL', id, random(2) === 0 ? path : '', false)
}

async function rounds(count: number): Promise<Map<number, number>> {
  let next = 0
  const counts = new Map<number, number>()
  const lane = async (pod: Netns): Promise<void> => {
    while (next < count) await round(`c${next++}`, pod, counts)
  }
  await Promise.all(pods.map(lane))
  return counts
}

async function expectAsBefore(before: object): Promise<void> {
  // A killed shim's DEL may still be under way, and a closed connection's descriptor goes a moment later.
  await until(async () => JSON.stringify(await everything()) === JSON.stringify(before)).catch(
    async (error: unknown) => {
      expect(await everything()).toEqual(before)
      throw error
    },
  )
}

test(`${ROUNDS} rounds with kills of the shim leave everything as before`, { timeout: 300_000 }, async () => {
  await round('warm-up', pods[0]!, new Map())
  const before = await everything()
  const counts = await rounds(ROUNDS)
  // The test tests something: many were killed, and many were not.
  expect(counts.get(-1)).toBeGreaterThan(ROUNDS / 10)
  expect(counts.get(0)).toBeGreaterThan(ROUNDS / 10)
  await expectAsBefore(before)
})

test('so do rounds in which polderd is killed as well', { timeout: 300_000 }, async () => {
  await node.kill()
  await node.start()
  await round('warm-up', pods[0]!, new Map())
  const before = await everything()
  for (let kill = 0; kill < (FULL ? 10 : 3); kill++) {
    const working = rounds(40)
    await new Promise((resolve) => setTimeout(resolve, random(300)))
    await node.kill()
    await node.start()
    await working
    expect(readdirSync(join(node.stateDir, 'spool'))).toEqual([])
  }
  await expectAsBefore(before)
})
