/**
 * Nodes that change while pods talk: their underlay address moves, they come back from a reboot with the same or another
 * name, somebody sets their clock. Two nodes of cluster.ts, one pod each; the traffic is that of the fault matrix.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Finding } from '../../daemon/api/types.ts'
import type { Node } from '../../daemon/cluster/objects.ts'
import { compiled } from '../support/c-programs.ts'
import { type Pod, TestCluster, TestNode } from '../support/cluster.ts'
import { until } from '../support/netns.ts'
import { healed } from '../support/observation.ts'
import { Traffic } from '../support/traffic.ts'

const PLAN = {
  bulkMbit: 50,
  connections: 20,
  requestIntervalMs: 50,
  datagramsPerSecond: 1000,
  datagramBytes: 200,
  family: 'v4',
} as const
const HEAL_MS = 15_000
const DAY_S = 86_400

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let a: Pod
let b: Pod

beforeEach(async () => {
  cluster = await TestCluster.create(2)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
})

afterEach(async () => {
  for (const pod of [a, b]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function startWithPods(): Promise<void> {
  await cluster.start()
  ;[a, b] = await Promise.all([node1.addPod('a'), node2.addPod('b')])
}

async function reaches(from: Pod, to: Pod): Promise<void> {
  await until(async () => {
    const pings = [to.v4, to.v6].map((address) => from.netns.attempt('ping', '-c', '1', '-W', '1', address))
    return (await Promise.all(pings)).every(({ code }) => code === 0)
  }, HEAL_MS)
}

/** Ends the traffic and says that nothing of it was lost but datagrams. */
async function expectWhole(traffic: Traffic): Promise<void> {
  const { bulk, bulkSent, steady, numbered } = await traffic.finish()
  expect(bulk).toMatchObject({ end: 'clean', bytes: bulkSent.bytes, hash: bulkSent.hash })
  expect([steady.lost, steady.changed, numbered.changed, numbered.duplicates]).toEqual([0, 0, 0, 0])
}

describe('a node whose underlay address moves', () => {
  it('says so, the others follow, and connections go on', async () => {
    await startWithPods()
    await using traffic = await Traffic.start(a, b, PLAN)
    for (const [from, to] of [
      ['198.18.0.2/24', '198.18.0.77/24'],
      ['198.18.0.77/24', '198.18.0.2/24'],
    ] as const) {
      await node2.netns.run('ip', 'address', 'del', from, 'dev', 'underlay')
      await node2.netns.run('ip', 'address', 'add', to, 'dev', 'underlay')
      const [address] = to.split('/')
      await until(async () => (await node2.info()).underlayAddress === address)
      console.log(`well ${(await healed(traffic, HEAL_MS)).toFixed(0)} ms after polderd had the address ${address}`)
      const known = async (): Promise<Node | undefined> =>
        (await node1.get<Node[]>('/v1/objects/Node')).find(({ metadata }) => metadata.name === 'node2')
      await until(async () => (await known())?.status?.network.underlayAddress === address, HEAL_MS)
      // Node processes too, over the overlay and bound to their underlay addresses.
      await node1.netns.run('ping', '-c', '1', '-W', '5', address!)
      await node1.netns.run('ping', '-c', '1', '-W', '5', '-I', node1.underlayAddress, b.v4)
      await node2.netns.run('ping', '-c', '1', '-W', '5', '-I', address!, a.v4)
    }
    await expectWhole(traffic)
  })

  it('an address that is only gone for a moment changes nothing', async () => {
    await startWithPods()
    await using traffic = await Traffic.start(a, b, PLAN)
    await node2.netns.run('ip', 'address', 'del', '198.18.0.2/24', 'dev', 'underlay')
    const findings = async (): Promise<Finding[]> => node2.get<Finding[]>('/v1/findings')
    await until(async () => (await findings()).some(({ id }) => id === 'underlay-gone'))
    await node2.netns.run('ip', 'address', 'add', '198.18.0.2/24', 'dev', 'underlay')
    await healed(traffic, HEAL_MS)
    expect((await node2.info()).underlayAddress).toBe('198.18.0.2')
    await expectWhole(traffic)
  })
})

describe('a node that reboots', () => {
  /** All processes, devices, pods, and what was in /run: gone at once, as the kernel is. */
  async function cutPower(node: TestNode, pod: Pod, boot: string): Promise<void> {
    const pids = await node.netns.run('ip', 'netns', 'pids', node.netns.name)
    for (const pid of pids.split('\n').filter(Boolean)) tryKill(Number(pid))
    await node.netns.run('ip', 'link', 'del', 'polder0')
    await node.netns.run('nft', 'flush', 'ruleset')
    await pod.netns[Symbol.asyncDispose]()
    rmSync(node.socket, { force: true })
    const bootId = join(cluster.folder, `boot-${boot}`)
    writeFileSync(bootId, `${boot.padEnd(8, '0')}-0000-4000-8000-000000000000\n`)
    // `ip netns exec` gives it mounts of its own.
    const script = `mount --bind ${bootId} /proc/sys/kernel/random/boot_id && exec "$@"`
    node.wrapper = ['sh', '-c', script, 'sh']
  }

  it('with the same name has its ranges again, none of its pods, and nobody else restarts', async () => {
    await startWithPods()
    const before = await node2.info()
    const node1Pid = node1.pid
    await cutPower(node2, b, 'aa')
    await node2.start()
    const after = await node2.info()
    expect(after.podCIDRs).toEqual(before.podCIDRs)
    expect(await node2.get('/v1/attachments')).toEqual([])
    b = await node2.addPod('b2')
    await reaches(a, b)
    await reaches(b, a)
    expect(node1.pid).toBe(node1Pid)
  })

  it('with another name takes over its address once the earlier one is not ready', async () => {
    await startWithPods()
    // As if it had been dead for long: nobody has to wait 40 s for it here.
    await node2.stop()
    await cutPower(node2, b, 'bb')
    rmSync(node2.stateDir, { recursive: true })
    const renamed = new TestNode('node9', node2.netns, node2.underlayAddress, cluster.folder)
    renamed.wrapper = node2.wrapper
    await renamed.start()
    b = await renamed.addPod('b9')
    await reaches(a, b)
    await reaches(b, a)
    expect(node1.log).toContain('not a peer: node2: it is not ready, and node9 has its underlay address now')
    await renamed.stop()
  })
})

describe('a clock that is set', () => {
  it.each([
    ['ahead', DAY_S],
    ['back', -DAY_S],
  ])('a day %s: nothing is released, nothing waits, nothing is lost', async (_, seconds) => {
    const clocks = cluster.nodes.map((node) => setUpClock(node))
    await startWithPods()
    await using traffic = await Traffic.start(a, b, PLAN)
    // Its address rests while the clock is set.
    await node1.removePod(await node1.addPod('gone'))
    clocks[0]!(seconds)
    const attachments = await node1.get('/v1/attachments')
    const rounds: Pod[] = []
    for (let i = 0; i < 3; i++) {
      const pod = await node1.addPod(`round${i}`)
      rounds.push(pod)
      await reaches(pod, b)
    }
    for (const pod of rounds) await node1.removePod(pod)
    clocks[1]!(-seconds)
    await healed(traffic, HEAL_MS)
    // Killed and started under the new clock: the records are of this boot, whatever the time.
    await node1.kill()
    await node1.start()
    const offMs = Date.parse((await node1.info()).startedAt) - Date.now()
    expect(Math.abs(offMs / 1000 - seconds)).toBeLessThan(60)
    await healed(traffic, HEAL_MS)
    expect(await node1.get('/v1/attachments')).toEqual(attachments)
    clocks[0]!(0)
    const later = await node1.addPod('later')
    await reaches(later, b)
    await node1.removePod(later)
    await expectWhole(traffic)
    for (const node of cluster.nodes) expect(node.log).not.toMatch(/"level":(50|60)/)
  })
})

/** Answers how to set the node's wall clock, so many seconds off. */
function setUpClock(node: TestNode): (seconds: number) => void {
  const path = join(cluster.folder, `${node.name}-clock`)
  const set = (seconds: number): void => writeFileSync(path, new BigInt64Array([BigInt(seconds)]), { flag: 'r+' })
  writeFileSync(path, new BigInt64Array(1))
  const preload = compiled('clock', '-shared', '-fPIC')
  node.wrapper = ['env', `LD_PRELOAD=${preload}`, `TEST_CLOCK_FILE=${path}`]
  return set
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
