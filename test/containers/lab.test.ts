/**
 * The lab, on this machine, under a name of its own: what `up` makes, that it completes what is half there, and that
 * `down` leaves nothing and touches no one else's.
 *
 *   polder-tPID-lab (bridge) ── node1 172.30.0.1, containerd, polderd
 *                           └── node2 172.30.0.2, containerd, polderd
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hierarchies } from '../../cli/lab/cgroups.ts'
import { down } from '../../cli/lab/down.ts'
import { CHECKOUT, type Lab, labOf, nodeOf } from '../../cli/lab/lab.ts'
import { nodeInits, runInside } from '../../cli/lab/processes.ts'
import { describeLab, labState } from '../../cli/lab/status.ts'
import { up } from '../../cli/lab/up.ts'

const lab = labOf(`t${process.pid}-lab`)
const other = labOf(`t${process.pid}-other`)
const quiet = () => {}
const bare = { nodes: 2, images: false }

function inside(number: number, ...command: string[]): Promise<string> {
  const node = nodeOf(lab, number)
  return runInside(node, nodeInits(lab).get(node.name)!, command)
}

/** Everything of the machine's own network that a lab could change by mistake. */
function hostNetwork(): string {
  const commands = ['-j link show', '-j route show table all', '-j -6 route show table all', '-j rule', '-j addr show']
  return commands
    .map((args) => execFileSync('ip', args.split(' '), { encoding: 'utf8' }).replaceAll(/_lft":\d+/g, ''))
    .concat(execFileSync('nft', ['-s', 'list', 'ruleset'], { encoding: 'utf8' }))
    .join('\n')
}

/** Names of all that a lab has on this machine outside its namespaces. */
function tracesOf(lab: Lab): string[] {
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : []
  const cgroups = hierarchies().map(({ mountPoint }) => `${mountPoint}/polder-lab-${lab.name}`)
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return [
    ...namespaces.filter((name) => name === lab.underlayNetns || name.startsWith(`${lab.underlayNetns}-`)),
    ...[lab.stateDir, lab.dataDir, ...cgroups].filter((path) => existsSync(path)),
    ...mounts.filter((line) => line.includes(lab.stateDir) || line.includes(lab.dataDir)),
    ...nodeInits(lab).keys(),
  ]
}

const before = hostNetwork()

beforeAll(() => up(lab, bare, quiet))

afterAll(async () => {
  await down(lab, quiet)
  await down(other, quiet)
})

describe('a lab that is up', () => {
  test('its nodes have containerd and polderd, and pod ranges of their own', async () => {
    const states = await labState(lab)
    expect(states.map(({ node, containerd, polderd }) => [node.name, containerd, polderd])).toEqual([
      ['node1', true, true],
      ['node2', true, true],
    ])
    const ranges = states.flatMap(({ podCIDRs }) => podCIDRs)
    expect(new Set(ranges).size).toBe(4)
    expect(describeLab(lab, states)).toMatch(/^node1 +\d+ +172\.30\.0\.1,fd00:30::1 +10\.244\.\d+\.0\/24,/m)
  })

  test('a node has its own name, processes, network, cgroups and files', async () => {
    expect(await inside(1, 'hostname')).toBe('node1\n')
    expect(await inside(1, 'cat', '/proc/1/comm')).toBe('catatonit\n')
    expect((await inside(1, 'ls', '/sys/class/net')).split('\n')).toContain('underlay')
    expect(await inside(1, 'ls', '/sys/class/net')).toBe(await inside(2, 'ls', '/sys/class/net'))
    const cgroups = (await inside(1, 'cat', '/proc/self/cgroup')).trim().split('\n')
    expect(cgroups.filter((line) => !/:\/(init)?$/.test(line))).toEqual([])
    await inside(1, 'touch', '/var/lib/polder/only-here', '/run/only-here', '/etc/cni/only-here')
    for (const file of ['/var/lib/polder/only-here', '/run/only-here', '/etc/cni/only-here']) {
      await expect(inside(2, 'ls', file)).rejects.toThrow('No such file')
      expect(existsSync(file)).toBe(false)
    }
  })

  test('the nodes share the cluster folder and the underlay', async () => {
    expect(await inside(1, 'ls', '/var/lib/polder/cluster')).toBe(await inside(2, 'ls', '/var/lib/polder/cluster'))
    await inside(1, 'ping', '-c', '1', '-W', '2', '172.30.0.2')
    await inside(2, 'ping', '-c', '1', '-W', '2', 'fd00:30::1')
  })

  test("the machine's own network is as it was", () => {
    expect(hostNetwork()).toBe(before)
  })
})

describe('up again', () => {
  test('leaves a lab that is up as it is', async () => {
    const inits = nodeInits(lab)
    const daemons = await inside(1, 'ps', '-eo', 'pid=,comm=')
    await up(lab, bare, quiet)
    expect(nodeInits(lab)).toEqual(inits)
    // polderd runs nft where somebody has changed a ruleset.
    const kept = (list: string) => list.split('\n').filter((line) => !/ (ps|nft)$/.test(line))
    expect(kept(await inside(1, 'ps', '-eo', 'pid=,comm='))).toEqual(kept(daemons))
  })

  test('starts a daemon that died', async () => {
    await inside(1, 'sh', '-c', 'kill -9 $(pidof containerd)')
    await expect.poll(async () => (await labState(lab))[0]?.containerd).toBe(false)
    await up(lab, bare, quiet)
    expect((await labState(lab))[0]).toMatchObject({ containerd: true, polderd: true })
  })

  test('starts a node that died, and only that one', async () => {
    const inits = nodeInits(lab)
    process.kill(inits.get('node2')!, 'SIGKILL')
    // One that is dying would be taken for one that runs.
    await expect.poll(() => nodeInits(lab).has('node2'), { timeout: 10_000 }).toBe(false)
    await up(lab, bare, quiet)
    expect(nodeInits(lab).get('node1')).toBe(inits.get('node1'))
    expect(nodeInits(lab).get('node2')).not.toBe(inits.get('node2'))
    await inside(1, 'ping', '-c', '1', '-W', '2', '172.30.0.2')
  })

  test('shows the end of the log of a daemon that cannot start', async () => {
    await inside(
      2,
      'sh',
      '-c',
      `kill -9 $(pidof containerd); while pidof containerd; do :; done; rm -rf /run/containerd; touch /run/containerd`,
    )
    const failure = up(lab, bare, quiet)
    await expect(failure).rejects.toThrow(/containerd of node2 .*\n.*the end of .*node2\/containerd\.log:\n/)
    await expect(failure).rejects.toThrow(/not a directory/)
    await inside(2, 'rm', '/run/containerd')
    await up(lab, bare, quiet)
  })
})

/** `lab up` in a process of its own, killed after so many lines of progress. */
async function upAndKill(name: string, lines: number): Promise<void> {
  const program = `import { labOf } from '${CHECKOUT}/cli/lab/lab.ts'
import { up } from '${CHECKOUT}/cli/lab/up.ts'
let left = ${lines}
await up(labOf('${name}'), ${JSON.stringify(bare)}, () => { if (--left === 0) process.kill(process.pid, 'SIGKILL') })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' })
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL'])
}

describe('two labs', () => {
  test.for([1, 3])('an up that was killed after %i lines of progress is completed by the next one', async (lines) => {
    await upAndKill(other.name, lines)
    await up(other, bare, quiet)
    const states = await labState(other)
    expect(states.map(({ containerd, polderd }) => containerd && polderd)).toEqual([true, true])
    await down(other, quiet)
    expect(tracesOf(other)).toEqual([])
  })

  test('down removes what a killed up left, twice, and nothing of the other lab', async () => {
    const inits = nodeInits(lab)
    await upAndKill(other.name, 1)
    await down(other, quiet)
    expect(tracesOf(other)).toEqual([])
    await down(other, quiet)
    expect(nodeInits(lab)).toEqual(inits)
    expect((await labState(lab)).map(({ containerd, polderd }) => containerd && polderd)).toEqual([true, true])
  })

  test('one command at a time works on a lab', async () => {
    const first = up(lab, bare, quiet)
    await expect(down(lab, quiet)).rejects.toThrow(/Another polder lab up or down/)
    await first
  })
})

describe('down', () => {
  test('removes a lab with everything in it', async () => {
    await down(lab, quiet)
    expect(tracesOf(lab)).toEqual([])
    expect(hostNetwork()).toBe(before)
  })

  test('removes a lab whose directories someone removed', async () => {
    await up(lab, bare, quiet)
    execFileSync('rm', ['-rf', lab.stateDir])
    await down(lab, quiet)
    expect(tracesOf(lab)).toEqual([])
  })
})

test.for(['', 'Upper', '../x', 'a b', 'x-node1', 'a'.repeat(33)])('%j cannot be the name of a lab', (name) => {
  expect(() => labOf(name)).toThrow(/cannot be the name of a lab/)
})
