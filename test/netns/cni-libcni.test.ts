/**
 * polder-cni driven by the published libcni, as containerd 2 and others do: it picks the version from the list, keeps
 * results and passes them on, and calls DEL, GC and STATUS in its own way.
 *
 *   libcni-driver ── 10-polder.conflist ──► polder-cni ──► polderd in polder-t<pid>-node1
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { buildLibcniDriver, type LibcniFlags, libcni } from '../support/libcni.ts'
import { Netns } from '../support/netns.ts'

const { missing } = await buildLibcniDriver()
const title = missing === undefined ? 'libcni' : `libcni (left out: ${missing})`
const DISTRIBUTION_PLUGINS = '/usr/lib/cni'
const silent = { code: 0, json: undefined }

describe.skipIf(missing !== undefined)(title, () => {
  let cluster: TestCluster
  let node: TestNode
  let folder: string
  let pod: Netns

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'polder-t'))
    cluster = await TestCluster.create(1)
    node = cluster.nodes[0]!
    await cluster.start()
    pod = await Netns.create('pod')
  })

  afterAll(async () => {
    await pod[Symbol.asyncDispose]()
    await cluster[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })

  const call = (command: string, flags: Partial<LibcniFlags> = {}) =>
    libcni(command, {
      list: join(node.cniConfDir, '10-polder.conflist'),
      plugins: `${node.cniBinDir}:${DISTRIBUTION_PLUGINS}`,
      cache: join(folder, 'cache'),
      container: 'c1',
      netns: pod.path,
      ...flags,
    })
  const cached = () => readdirSync(join(folder, 'cache', 'results'))
  const names = async () =>
    (await node.get<Attachment[]>('/v1/attachments'))
      .map(({ containerId, ifName }) => `${containerId}@${ifName}`)
      .sort()

  test('add, check, del in 1.1.0 with the list as polderd wrote it', async () => {
    const capabilities = JSON.stringify({
      ips: ['10.244.1.50/24'],
      dns: { servers: ['10.96.0.10'], searches: ['cluster.local'] },
      portMappings: [{ hostPort: 8080, containerPort: 80 }],
    })
    const { code, json } = await call('add', { capabilities })
    expect(json).toMatchObject({
      cniVersion: '1.1.0',
      interfaces: [{ name: 'eth0', mtu: (await node.info()).mtuBytes, sandbox: pod.path }],
      ips: [{ address: '10.244.1.50/32', gateway: '10.244.1.1', interface: 0 }, { address: 'fd00:10:244:1::32/128' }],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      dns: { nameservers: ['10.96.0.10'], search: ['cluster.local'] },
    })
    expect(code).toBe(0)
    expect(cached()).toEqual(['polder-c1-eth0'])
    expect(await call('check', { capabilities })).toEqual(silent)
    expect(await call('add', { container: 'c2' })).toMatchObject({ code: 1, json: { code: 100 } })
    await pod.run('ip', 'addr', 'del', '10.244.1.50/32', 'dev', 'eth0')
    expect(await call('check', { capabilities })).toMatchObject({ code: 1, json: { code: 102, msg: /10\.244\.1\.50/ } })
    expect(await call('del', { netns: '' })).toEqual(silent)
    expect(await call('del')).toEqual(silent)
    expect(cached()).toEqual([])
    expect(await names()).toEqual([])
    expect(await pod.run('ip', '-br', 'link')).not.toContain('eth0')
  })

  test('gc: what its cache knows by DEL, what it does not by GC', async () => {
    for (const ifname of ['eth0', 'eth1', 'eth2']) expect((await call('add', { ifname })).code).toBe(0)
    expect(await call('gc', { valid: 'c1@eth0,c1@eth1' })).toEqual(silent)
    expect(await names()).toEqual(['c1@eth0', 'c1@eth1'])
    expect(await call('gc', { valid: 'c1@eth1', cache: join(folder, 'empty') })).toEqual(silent)
    expect(await names()).toEqual(['c1@eth1'])
    expect(await call('gc', { cache: join(folder, 'empty') })).toEqual(silent)
    expect(await names()).toEqual([])
  })

  test('in a chain before plugins of others, one of which moves the routes: check holds, del undoes all', async () => {
    const list = join(folder, '05-chain.conflist')
    const { plugins, name } = JSON.parse(readFileSync(join(node.cniConfDir, '10-polder.conflist'), 'utf8'))
    const sysctl = { 'net.ipv4.conf.all.arp_filter': '1' }
    const chain = [...plugins, { type: 'tuning', sysctl, dataDir: folder }, { type: 'sbr' }]
    for (const cniVersion of ['0.4.0', '1.0.0']) {
      writeFileSync(list, JSON.stringify({ cniVersion, name, plugins: chain }))
      const { code, json } = await call('add', { list })
      expect(json).toMatchObject({ cniVersion, interfaces: [{ name: 'eth0' }] })
      expect(code).toBe(0)
      expect(await pod.run('ip', 'route', 'show', 'default')).toBe('')
      expect(await pod.run('ip', 'route', 'show', 'table', 'all', 'default')).toContain('10.244.1.1')
      expect(await call('check', { list })).toEqual(silent)
      expect(await call('del', { list })).toEqual(silent)
      expect(await names()).toEqual([])
    }
  })

  test('status: ready, and pods cut off while there is no polderd', async () => {
    expect(await call('status')).toEqual(silent)
    await node.stop()
    expect(await call('status')).toMatchObject({ code: 1, json: { code: 51 } })
    await cluster.start()
    expect(await call('status')).toEqual(silent)
  })
})
