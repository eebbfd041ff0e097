/**
 * The CNI verbs at their limits, on the real shim and a real polderd: no address left, sixty calls at once, a polderd
 * that is gone and comes back.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { TestCluster } from '../support/cluster.ts'
import { Netns } from '../support/netns.ts'
import { errorOf } from '../support/shim.ts'

const silent = { code: 0, stdout: '', stderr: '' }
const ofContainer = (command: string, id: string, netns: string) => ({
  ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0' },
})

test('STATUS fails where no address is left, unless it is told not to', async () => {
  await using cluster = await TestCluster.create(1)
  const node = cluster.nodes[0]!
  await cluster.start('--node-mask-size-ipv4', '29')
  const status = () => node.shim({ CNI_COMMAND: 'STATUS' }, { cniVersion: '1.1.0' })
  await using pods = new AsyncDisposableStack()
  for (let i = 0; i < 4; i++) {
    expect(await status()).toEqual(silent)
    pods.use((await node.addPod(`full${i}`)).netns)
  }
  expect(errorOf(await status())).toMatchObject({ code: 50, msg: expect.stringContaining('no address is left') })
  const extra = pods.use(await Netns.create('extra'))
  expect(errorOf(await node.shim(ofContainer('ADD', 'c1', extra.path)))).toMatchObject({ code: 101 })
  await node.stop()
  await cluster.start('--node-mask-size-ipv4', '29', '--no-status-fails-when-full')
  expect(await status()).toEqual(silent)
  const [{ containerId }] = await node.get<[Attachment]>('/v1/attachments')
  expect(await node.shim(ofContainer('DEL', containerId, ''))).toEqual(silent)
  expect((await node.shim(ofContainer('ADD', 'c1', extra.path))).code).toBe(0)
})

test('sixty at once on each of two nodes', async () => {
  await using cluster = await TestCluster.create(2)
  await cluster.start()
  await using pods = new AsyncDisposableStack()
  const netns = await Promise.all(Array.from({ length: 120 }, (_, i) => Netns.create(`many${i}`)))
  for (const each of netns) pods.use(each)
  const nodeOf = (i: number) => cluster.nodes[i % 2]!
  const added = await Promise.all(netns.map(({ name, path }, i) => nodeOf(i).cni('ADD', name, path)))
  const addresses = added.flatMap((result) => JSON.parse(result).ips.map((ip: { address: string }) => ip.address))
  expect(new Set(addresses).size).toBe(240)
  await Promise.all(netns.map(({ name }, i) => nodeOf(i).cni('DEL', name, '')))
  for (const node of cluster.nodes) expect(await node.get('/v1/attachments')).toEqual([])
  for (const each of netns) expect(await each.run('ip', '-br', 'link')).not.toContain('eth0')
})

test('while polderd is down, a DEL is kept for it, ADD waits, and STATUS says that pods are cut off', async () => {
  await using cluster = await TestCluster.create(1)
  const node = cluster.nodes[0]!
  await cluster.start()
  await using first = await Netns.create('first')
  await using second = await Netns.create('second')
  await node.cni('ADD', 'c1', first.path)
  await node.kill()
  const startedMs = performance.now()
  const [version, deleted, added, status] = await Promise.all([
    node.shim({ CNI_COMMAND: 'VERSION' }, ''),
    node.shim(ofContainer('DEL', 'c1', '')),
    node.shim(ofContainer('ADD', 'c2', second.path)),
    node.shim({ CNI_COMMAND: 'STATUS' }, { cniVersion: '1.1.0' }),
  ])
  expect(performance.now() - startedMs).toBeGreaterThan(4_900)
  expect(version).toMatchObject({ code: 0, stdout: expect.stringContaining('1.1.0') })
  expect(deleted).toEqual(silent)
  expect(errorOf(added)).toMatchObject({ code: 11, details: node.socket })
  expect(errorOf(status)).toMatchObject({ code: 51, details: node.socket })
  expect(errorOf(await node.shim({ CNI_COMMAND: 'STATUS' }, { cniVersion: '1.0.0' }))).toMatchObject({ code: 1 })
  expect(readdirSync(join(node.stateDir, 'spool'))).toEqual(['c1@eth0'])
  const waiting = node.shim(ofContainer('ADD', 'c2', second.path))
  await node.start()
  expect((await waiting).code).toBe(0)
  expect(readdirSync(join(node.stateDir, 'spool'))).toEqual([])
  expect(await first.run('ip', '-br', 'link')).not.toContain('eth0')
  const left = await node.get<Attachment[]>('/v1/attachments')
  expect(left.map(({ containerId }) => containerId)).toEqual(['c2'])
  await node.cni('DEL', 'c2', second.path)
  expect(existsSync(join(node.stateDir, 'attachments', 'c2@eth0.json'))).toBe(false)
})
