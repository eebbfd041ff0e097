/**
 * polderd as a service: what it tells systemd, and what it stores there, with a program in systemd's place that speaks
 * the same protocol (support/systemd-stand-in); and the unit itself, as systemd-analyze sees it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keeperPath } from '../../daemon/handover/keeper.ts'
import { compiled } from '../support/c-programs.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { until } from '../support/netns.ts'
import { sandboxOf, settingOf } from '../support/unit-sandbox.ts'

const STAND_IN = compiled('systemd-stand-in')
const WATCHDOG_USEC = '1000000'
const PATIENCE_MS = 30_000
const UNIT = join(import.meta.dirname, '../../scripts/systemd/polderd.service')
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0

const readies = (node: TestNode): number[] =>
  [...node.log.matchAll(/^notify \d+: MAINPID=(\d+) READY=1/gm)].map(([, pid]) => Number(pid))

test('says that it is ready, alive, reloading and stopping, and finds its descriptors again', async () => {
  await using cluster = await TestCluster.create(1)
  const node = cluster.nodes[0]!
  node.wrapper = [STAND_IN, join(cluster.folder, 'notify'), WATCHDOG_USEC]
  await cluster.start()
  const [a, b] = [await node.addPod('a'), await node.addPod('b')]
  const nameOfA = `FDNAME=pod%20${a.containerId}@eth0`
  await until(() => readies(node).length === 1)
  for (const name of ['FDNAME=host', 'FDNAME=underlay', nameOfA]) {
    await until(() => node.log.includes(`FDSTORE=1 ${name} FDPOLL=0`))
  }
  expect(existsSync(keeperPath(node.socket))).toBe(false)
  await until(() => node.log.split('WATCHDOG=1').length > 3, PATIENCE_MS)

  const link = () => a.netns.run('ip', '-o', 'link', 'show', 'eth0')
  const before = await link()
  process.kill(readies(node)[0]!, 'SIGKILL')
  await until(() => readies(node).length === 2, PATIENCE_MS)
  expect(await link()).toBe(before)
  // What was attached anew would be stored anew.
  expect(node.log.split(`FDSTORE=1 ${nameOfA}`)).toHaveLength(2)
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)

  node.tell('reload\n')
  await until(() => node.log.includes('reloaded 0'), PATIENCE_MS)
  await until(() => readies(node).length === 3)
  expect(node.log).toContain('RELOADING=1')
  expect(await node.info()).toMatchObject({ pid: readies(node)[2] })
  const pings = node.log.split(`notify ${readies(node)[2]}: WATCHDOG=1`).length
  await until(() => node.log.split(`notify ${readies(node)[2]}: WATCHDOG=1`).length > pings, PATIENCE_MS)
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)

  await node.removePod(a)
  await until(() => node.log.includes(`FDSTOREREMOVE=1 ${nameOfA}`))
  await b.netns[Symbol.asyncDispose]()
  await node.stop()
  expect(node.log).toContain('STOPPING=1')
})

/** With the capabilities of the unit, and where systemd can be asked with its system calls, too. */
function confinement(): string[] {
  const kept = settingOf(UNIT, 'CapabilityBoundingSet').map((name) => `+${name.replace('CAP_', '').toLowerCase()}`)
  const withCapabilities = ['setpriv', '--no-new-privs', `--bounding-set=-all,${kept}`, '--inh-caps=-all']
  return [...withCapabilities, ...(hasSystemd ? sandboxOf(UNIT) : [])]
}

test('the capabilities, system calls, families and namespaces that the unit leaves it are enough', async () => {
  await using cluster = await TestCluster.create(2)
  for (const node of cluster.nodes) {
    node.wrapper = confinement()
  }
  await cluster.start()
  const [node1, node2] = [cluster.nodes[0]!, cluster.nodes[1]!]
  expect(readFileSync(`/proc/${node1.pid}/status`, 'utf8')).toMatch(/^NoNewPrivs:\t1$/m)
  if (hasSystemd) expect(readFileSync(`/proc/${node1.pid}/status`, 'utf8')).toMatch(/^Seccomp_filters:\t3$/m)
  const [a, b] = [await node1.addPod('a'), await node2.addPod('b')]
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
  expect(await node1.takeOver()).toBe(0)
  await node2.kill()
  await node2.start()
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v6)
  for (const [node, pod] of [
    [node1, a],
    [node2, b],
  ] as const)
    await node.removePod(pod)
  expect(cluster.nodes.flatMap((node) => node.log.match(/"level":[56]0.*/g) ?? [])).toEqual([])
})

test.skipIf(!hasSystemd)('what the unit does not leave it is refused', () => {
  const [program, ...words] = confinement()
  const confined = (...command: string[]) => spawnSync(program!, [...words, ...command], { encoding: 'utf8' })
  expect(confined('unshare', '--net', 'true')).toMatchObject({ status: 0 })
  expect(confined('unshare', '--mount', 'true').stderr).toContain('Operation not permitted')
  // quotactl_fd(2), the same number everywhere: a bad descriptor (9) where it may be called.
  const quota = ['perl', '-e', 'syscall(443, -1, 0, 0, 0); print $! + 0']
  expect(spawnSync(quota[0]!, quota.slice(1), { encoding: 'utf8' }).stdout).toBe('9')
  expect(confined(...quota).stdout).toBe('1')
})

test.skipIf(!hasSystemd)('systemd takes the unit as it is', () => {
  const folder = mkdtempSync(join(tmpdir(), 'polder-t'))
  try {
    // Verified is also that the programs are there.
    const unit = join(folder, 'polderd.service')
    writeFileSync(unit, readFileSync(UNIT, 'utf8').replaceAll('/opt/polder', join(import.meta.dirname, '../..')))
    const { stderr } = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' })
    const said = stderr.split('\n').filter((line) => line.includes('polderd.service'))
    // Of a newer systemd than this one may be.
    expect(said.filter((line) => !line.includes("Unknown key 'FileDescriptorStorePreserve'"))).toEqual([])
    const report = execFileSync('systemd-analyze', ['security', '--offline=true', '--threshold=60', unit])
    expect(String(report)).toContain('Overall exposure level')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
