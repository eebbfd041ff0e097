/**
 * A real polderd whose state and cluster folder lie on a disk that is full, or read-only: what it refuses it refuses in
 * words and leaves nothing of it; what it can do it does; and when there is room again, all goes on without a restart.
 *
 *   shim ──► polderd ──► small disk (small-disk.ts): state/ cluster/
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Client } from '../../cli/client.ts'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { endKeeper } from '../../daemon/handover/open.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { podNamed } from '../support/cluster-folder.ts'
import { Netns, until } from '../support/netns.ts'
import { errorOf } from '../support/shim.ts'
import { SmallDisk } from '../support/small-disk.ts'

const silent = { code: 0, stdout: '', stderr: '' }
const NO_SPACE = 'no space left on device (ENOSPC)'
const READ_ONLY = 'read-only file system (EROFS)'

let disk: SmallDisk
let cluster: TestCluster
let node: TestNode
let pods: Netns[]

beforeAll(async () => {
  disk = await SmallDisk.create()
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  pods = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((word) => Netns.create(word)))
  await start()
})

afterAll(async () => {
  for (const pod of pods) await pod[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
  await disk[Symbol.asyncDispose]()
})

const start = () => node.start('--state-dir', join(disk.path, 'state'), '--cluster-folder', join(disk.path, 'cluster'))
const call = (command: string, pod: number, netns = pods[pod]!.path) =>
  node.shim({ CNI_COMMAND: command, CNI_CONTAINERID: `c${pod}`, CNI_NETNS: netns, CNI_IFNAME: 'eth0' })
const add = async (pod: number) => {
  const answer = await call('ADD', pod)
  expect(answer).toMatchObject({ code: 0, stderr: '' })
  return (JSON.parse(answer.stdout) as { ips: { address: string }[] }).ips[0]!.address.split('/')[0]!
}
const attached = async () => (await node.get<Attachment[]>('/v1/attachments')).map((each) => each.containerId).sort()
const stateFiles = (folder: string) => readdirSync(join(disk.path, 'state', folder)).sort()
const records = () => stateFiles('attachments').filter((name) => !name.endsWith('.released'))
const hasDevice = async (pod: number) => (await pods[pod]!.run('ip', '-br', 'link')).includes('eth0')

async function expectRefused(pod: number, why: string): Promise<void> {
  const before = readdirSync(join(disk.path, 'state', 'attachments'))
  const { code, msg, details } = errorOf(await call('ADD', pod))
  expect({ code, msg }).toEqual({ code: 5, msg: expect.stringMatching(/attachments\/.* cannot be written: /) })
  expect(msg).toContain(why)
  expect(details).toContain('make room there')
  expect(await hasDevice(pod)).toBe(false)
  expect(readdirSync(join(disk.path, 'state', 'attachments'))).toEqual(before)
}

test('on a full disk ADD is refused and DEL is done; with room again all goes on', { timeout: 60_000 }, async () => {
  const first = await add(0)
  const second = await add(1)
  disk.fill()
  await expectRefused(2, NO_SPACE)
  await expect(new Client(node.socket).put(podNamed('web'))).rejects.toThrow(`web.yaml cannot be written: ${NO_SPACE}`)
  expect(await attached()).toEqual(['c0', 'c1'])
  expect(await call('DEL', 0)).toEqual(silent)
  expect(await hasDevice(0)).toBe(false)
  // A released record may have made some room.
  disk.fill()
  await expectRefused(2, NO_SPACE)

  await node.kill()
  expect(await call('DEL', 1)).toEqual(silent)
  expect(stateFiles('spool')).toEqual(['c1@eth0'])
  disk.fillNames()
  expect(errorOf(await call('DEL', 2))).toMatchObject({ code: 11, msg: expect.stringContaining('No space left') })

  await start()
  expect(node.log).toContain('polderd cannot write here')
  expect(await attached()).toEqual([])
  expect(await hasDevice(1)).toBe(false)
  expect(stateFiles('spool')).toEqual([])
  disk.fill()
  await expectRefused(2, NO_SPACE)

  disk.makeRoom()
  expect(await new Client(node.socket).put(podNamed('web'))).toBe('created')
  expect([first, second]).not.toContain(await add(2))
  expect(await call('DEL', 2)).toEqual(silent)
  expect(records()).toEqual([])
})

test('on a read-only disk polderd starts and pods keep their network', { timeout: 150_000 }, async () => {
  const kept = await add(2)
  const gone = await add(3)
  await node.kill()
  disk.setReadOnly(true)
  expect(errorOf(await call('DEL', 4))).toMatchObject({ code: 11, msg: expect.stringContaining('Read-only file') })
  await start()
  expect(await attached()).toEqual(['c2', 'c3'])
  expect(await pods[2]!.run('ping', '-c1', '-W5', (await node.info()).gateways[0]!)).toContain('1 received')
  await expectRefused(4, READ_ONLY)

  expect(await call('DEL', 3)).toEqual(silent)
  expect(await hasDevice(3)).toBe(false)
  expect(records()).toEqual(['c2@eth0.json', 'c3@eth0.json'])
  await expectRefused(4, READ_ONLY)

  disk.setReadOnly(false)
  const writableAtMs = Date.now()
  expect([kept, gone]).not.toContain(await add(4))
  expect(records()).toEqual(['c2@eth0.json', 'c4@eth0.json'])
  // The heartbeat could not be written; the next one can.
  const status = join(disk.path, 'cluster', 'nodes', 'node1.status.yaml')
  await until(() => statSync(status).mtimeMs > writableAtMs, 100_000)
  for (const pod of [2, 4]) expect(await call('DEL', pod)).toEqual(silent)
  await node.kill()
  await start()
  expect(await attached()).toEqual([])
})

test('where polderd was never before, a full disk is an error of its start', async () => {
  await node.kill()
  disk.fill()
  disk.fillNames()
  const fresh = ['--state-dir', join(disk.path, 'other'), '--cluster-folder', join(disk.path, 'cluster')]
  await expect(node.start(...fresh)).rejects.toThrow(/cannot write to .*other: ENOSPC\n.*set stateDir/)
})

test('a run directory without room is an error of the start; one that fills up bounds the flow table', async () => {
  await using run = await SmallDisk.create()
  await node.stop()
  endKeeper(node.socket)
  const socket = ['--socket', join(run.path, 'polderd.sock')]
  await expect(node.start(...socket)).rejects.toThrow(
    /the flow table .*flows cannot be made: no space left\n.*Make room/,
  )
  await node.start(...socket, '--max-flows', '8192')
  const client = new Client(join(run.path, 'polderd.sock'))
  expect(await call('ADD', 0)).toMatchObject({ code: 0 })
  const gateway = (await client.node()).gateways[0]!
  const talk = `const socket = require('node:dgram').createSocket('udp4')
    let port = 1000
    const next = () => port++ < 6000 ? socket.send('x', port, '${gateway}', () => setImmediate(next)) : socket.close()
    next()`
  await pods[0]!.run(process.execPath, '-e', talk)
  await until(async () => (await client.counters()).flows.evicted > 3000)
  const { flows, refused } = (await client.counters()).flows
  // In steps of 256, as far as there is room.
  expect([flows % 256, flows > 0 && flows < 1100, refused]).toEqual([0, true, 0])
  expect(await pods[0]!.run('ping', '-c1', '-W5', gateway)).toContain('1 received')
  expect(await call('DEL', 0)).toEqual(silent)
})
