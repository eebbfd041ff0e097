/**
 * Pods and the world outside the cluster, on a host that others may touch: masquerade, what upkeep puts back, and what
 * an uninstall leaves. The world knows no way to pods: it answers only what comes from the node's own address.
 *
 *   pod ─TUN─ polderd (node1) ─ polder0 ─ node1 ─ uplink, 198.18.9.1, 2001:db8:9::1 ─── world, 203.0.113.80, 2001:db8:80::80
 *   pod ─TUN─ polderd (node2) ─┘ underlay
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Counters, Finding } from '../../daemon/api/types.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { connect, Netns, type NetnsProcess, until } from '../support/netns.ts'

const TRANSFER = join(import.meta.dirname, '../support/transfer.ts')
const POLDERD = join(import.meta.dirname, '../../scripts/polderd')
const WORLD = { 4: '203.0.113.80', 6: '2001:db8:80::80' } as const
const NODE = { 4: '198.18.9.1', 6: '2001:db8:9::1' } as const
/** A second is promised; ten times that is asserted, for a machine that is busy. */
const MEND_TIMEOUT_MS = 10_000
const BYTES = 300_000_000

/** A file that grows with each run of nft by polderd. */
let nftRuns: string
let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let world: Netns
let a: Pod
let c: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  nftRuns = countNft(cluster.folder)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  world = await Netns.create('world')
  await connect(node1.netns, 'uplink', world, 'uplink')
  await node1.netns.run('ip', 'address', 'add', `${NODE[4]}/24`, 'dev', 'uplink')
  await node1.netns.run('ip', 'address', 'add', `${NODE[6]}/64`, 'dev', 'uplink')
  await world.run('ip', 'address', 'add', '198.18.9.2/24', 'dev', 'uplink')
  await world.run('ip', 'address', 'add', '2001:db8:9::2/64', 'dev', 'uplink')
  await world.run('ip', 'address', 'add', `${WORLD[4]}/32`, 'dev', 'lo')
  await world.run('ip', 'address', 'add', `${WORLD[6]}/128`, 'dev', 'lo')
  await node1.netns.run('ip', 'route', 'add', 'default', 'via', '198.18.9.2')
  await node1.netns.run('ip', 'route', 'add', 'default', 'via', '2001:db8:9::2')
  // Strict, as hardened machines have it: nothing of polder needs it loosened.
  await node1.netns.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1', 'net.ipv4.ip_forward=0')
  await cluster.start()
  ;[a, c] = await Promise.all([node1.addPod('a'), node2.addPod('c')])
  const list = (): Promise<string> => node1.netns.run('nft', 'list', 'set', 'inet', 'polder', 'cluster4')
  await until(async () => (await list()).includes('198.18.0.1-198.18.0.2'), MEND_TIMEOUT_MS)
})

afterAll(async () => {
  for (const pod of [a, c]) await pod?.netns[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** Puts an nft into the PATH of what is started from here on that notes each run, and answers where. */
function countNft(folder: string): string {
  const bin = join(folder, 'path')
  const runs = join(folder, 'nft-runs')
  mkdirSync(bin)
  writeFileSync(join(bin, 'nft'), `#!/bin/sh\necho run >>${runs}\nexec /usr/sbin/nft "$@"\n`, { mode: 0o755 })
  process.env['PATH'] = `${bin}:${process.env['PATH']}`
  return runs
}

/** A transfer that runs until `meanwhile` is done; both ends have what the other sent. */
async function transfer(
  serve: Netns,
  address: string,
  from: Netns,
  bytes: number,
  meanwhile: (client: NetnsProcess) => Promise<void> = async () => {},
): Promise<string> {
  const words = (role: string): string[] => [process.execPath, TRANSFER, role, address, '7000', String(bytes)]
  const server = serve.spawn(...words('listen'))
  await until(() => server.stderr.includes('listening') || !server.running, 20_000)
  expect(server.stderr).toContain('listening')
  const client = from.spawn(...words('connect'))
  await meanwhile(client)
  expect(await client.ended, client.stderr).toBe(0)
  await server.ended
  const [atServer, atClient] = [JSON.parse(server.stdout), JSON.parse(client.stdout)]
  expect(atServer.received).toBe(atClient.sent)
  expect(atClient.received).toBe(atServer.sent)
  return atServer.from
}

describe('a pod reaches the world', () => {
  it.each([4, 6] as const)('over IPv%i, and is seen with the address of its node', async (family) => {
    expect(await transfer(world, WORLD[family], a.netns, 1_000_000)).toBe(NODE[family])
    await a.netns.run('ping', '-c', '1', '-W', '2', WORLD[family])
  })

  it('and its own node, and the pods and processes of others, with its own address', async () => {
    expect(await transfer(node1.netns, NODE[4], a.netns, 1000)).toBe(a.v4)
    expect(await transfer(node1.netns, NODE[6], a.netns, 1000)).toBe(a.v6)
    expect(await transfer(c.netns, c.v4, a.netns, 1000)).toBe(a.v4)
    expect(await transfer(node2.netns, node2.underlayAddress, a.netns, 1000)).toBe(a.v4)
    expect(await transfer(a.netns, a.v4, node2.netns, 1000)).toBe((await node2.info()).gateways[0])
  })

  it('because forwarding was turned on, and said so', async () => {
    expect(await node1.netns.run('sysctl', '-n', 'net.ipv4.ip_forward')).toBe('1\n')
    expect(await node1.netns.run('sysctl', '-n', 'net.ipv6.conf.all.forwarding')).toBe('1\n')
    // What took router advertisements still does.
    expect(await node1.netns.run('sysctl', '-n', 'net.ipv6.conf.uplink.accept_ra')).toBe('2\n')
    for (const change of [
      'ip_forward = 1',
      'all.forwarding = 1',
      'uplink.accept_ra = 2',
      'table inet polder',
      'gro of underlay',
    ]) {
      expect(node1.log).toContain(change)
    }
  })
})

const SYSCTLS = ['ipv4.ip_forward', 'ipv6.conf.all.forwarding', 'ipv4.conf.polder0.route_localnet'].map(
  (name) => `net.${name}`,
)

/** What of polder's is on the host, as others see it. */
async function hostState(): Promise<unknown> {
  const link = await node1.netns.json<{ mtu: number; txqlen: number; flags: string[] }[]>(
    'ip',
    '-j',
    'link',
    'show',
    'polder0',
  )
  return {
    mtu: link[0]!.mtu,
    txqlen: link[0]!.txqlen,
    up: link[0]!.flags.includes('UP'),
    // Without the device's number: it may have been made anew.
    addresses: (await node1.netns.run('ip', '-o', 'address', 'show', 'polder0')).replaceAll(/^\d+: /gm, ''),
    routes:
      (await node1.netns.run('ip', 'route')) + (await node1.netns.run('ip', '-6', 'route', 'show', 'dev', 'polder0')),
    table: await node1.netns.run('nft', '-s', 'list', 'table', 'inet', 'polder'),
    offload: /generic-receive-offload: \w+/.exec(await node1.netns.run('ethtool', '-k', 'underlay'))?.[0],
    sysctls: await node1.netns.run('sysctl', ...SYSCTLS),
  }
}

async function packetsFromHost(): Promise<number> {
  const { entrances } = await node1.get<Counters>('/v1/counters')
  return entrances.find(({ name }) => name === 'from-host')!.packets
}

/** How often node1's log says that something was put back. */
function putBacks(): number {
  return node1.log.split('put back: ').length
}

describe('what others take away comes back, and a transfer into the world goes on', () => {
  const gateways = async (): Promise<string[]> => (await node1.info()).gateways
  const takings: [string, () => Promise<string[][]>][] = [
    ['the nftables table', async () => [['nft', 'delete', 'table', 'inet', 'polder']]],
    ['everything in nftables', async () => [['nft', 'flush', 'ruleset']]],
    ['a rule of the table', async () => [['nft', 'flush', 'chain', 'inet', 'polder', 'postrouting']]],
    ['a set of the table', async () => [['nft', 'flush', 'set', 'inet', 'polder', 'cluster4']]],
    ['the route of the pods', async () => [['ip', 'route', 'del', '10.244.0.0/16']]],
    ['the IPv6 route of the pods', async () => [['ip', '-6', 'route', 'del', 'fd00:10:244::/48']]],
    [
      'the route of the pods, led elsewhere',
      async () => [['ip', 'route', 'replace', '10.244.0.0/16', 'via', '198.18.9.2']],
    ],
    ['an address', async () => [['ip', 'address', 'del', `${(await gateways())[0]}/32`, 'dev', 'polder0']]],
    ['both addresses', async () => [['ip', 'address', 'flush', 'dev', 'polder0']]],
    ['the MTU', async () => [['ip', 'link', 'set', 'polder0', 'mtu', '1300']]],
    ['the MTU, below what IPv6 needs', async () => [['ip', 'link', 'set', 'polder0', 'mtu', '1000']]],
    ['the queue', async () => [['ip', 'link', 'set', 'polder0', 'txqueuelen', '10']]],
    ['the device, down', async () => [['ip', 'link', 'set', 'polder0', 'down']]],
    ['the device itself', async () => [['ip', 'link', 'del', 'polder0']]],
    ['IPv6 on the device', async () => [['sysctl', '-qw', 'net.ipv6.conf.polder0.disable_ipv6=1']]],
    ['receive offload of the underlay', async () => [['ethtool', '-K', 'underlay', 'gro', 'off']]],
    ['answers to 127.0.0.1', async () => [['sysctl', '-qw', 'net.ipv4.conf.polder0.route_localnet=0']]],
    ['forwarding', async () => [['sysctl', '-qw', 'net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0']]],
  ]

  it.each(takings)('%s', async (_, taking) => {
    const before = await hostState()
    const told = putBacks()
    const commands = await taking()
    const packets = await packetsFromHost()
    await transfer(world, WORLD[4], a.netns, BYTES, async (client) => {
      await until(async () => (await packetsFromHost()) > packets + 1000)
      for (const command of commands) await node1.netns.run(...command)
      expect(client.running).toBe(true)
      await until(() => putBacks() > told, MEND_TIMEOUT_MS)
      await until(async () => expect(await hostState()).toEqual(before) ?? true, MEND_TIMEOUT_MS)
    })
  })

  it('a node that comes and goes is taken into the table, and is nothing that was put back', async () => {
    const told = putBacks()
    const file = join(cluster.folder, 'cluster/nodes/foreign.yaml')
    const has = async (): Promise<boolean> =>
      (await node1.netns.run('nft', 'list', 'set', 'inet', 'polder', 'cluster4')).includes('198.18.0.77')
    const annotations = 'polder/underlay-address: 198.18.0.77'
    writeFileSync(
      file,
      `apiVersion: v1\nkind: Node\nmetadata:\n  name: foreign\n  annotations:\n    ${annotations}\nspec:\n  podCIDRs: [10.244.77.0/24]\n`,
    )
    await until(has, MEND_TIMEOUT_MS)
    rmSync(file)
    await until(async () => !(await has()), MEND_TIMEOUT_MS)
    expect(putBacks()).toBe(told)
  })

  it('and is counted', async () => {
    const findings = await node1.get<Finding[]>('/v1/findings')
    const putBack = findings.filter(({ id }) => id === 'put-back').map(({ message }) => message.split(':')[0])
    expect(new Set(putBack)).toEqual(
      new Set(['nftables', 'route', 'address', 'link', 'sysctl', 'offload'].map((kind) => `${kind} of polder`)),
    )
  })

  it('without a subprocess while nothing changes', async () => {
    // Several rounds of upkeep leave no trace to wait for: that is the point. (The first may see what came before.)
    const grows = async (): Promise<boolean> => {
      const runs = readFileSync(nftRuns, 'utf8')
      await setTimeout(1500)
      return readFileSync(nftRuns, 'utf8') !== runs
    }
    expect(readFileSync(nftRuns, 'utf8')).toContain('run')
    expect((await grows()) && (await grows())).toBe(false)
  })

  it('without disturbing the tables of others', async () => {
    await node1.netns.run('nft', 'add table inet other; add chain inet other mine')
    const table = await node1.netns.run('nft', 'list', 'table', 'inet', 'other')
    await node1.netns.run('nft', 'delete', 'table', 'inet', 'polder')
    await until(() => node1.netns.run('nft', 'list', 'table', 'inet', 'polder'), MEND_TIMEOUT_MS)
    expect(await node1.netns.run('nft', 'list', 'table', 'inet', 'other')).toBe(table)
    await node1.netns.run('nft', 'delete', 'table', 'inet', 'other')
  })
})

describe('the MTU of the underlay', () => {
  it('changes while polderd runs: polder0, new pods and the other node go by it', async () => {
    const mtuOf = async (netns: Netns, device: string): Promise<number> =>
      (await netns.json<{ mtu: number }[]>('ip', '-j', 'link', 'show', device))[0]!.mtu
    await node1.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1400')
    await until(async () => (await mtuOf(node1.netns, 'polder0')) === 1350, MEND_TIMEOUT_MS)
    expect((await node1.info()).mtuBytes).toBe(1350)
    const pod = await node1.addPod('small')
    expect(await mtuOf(pod.netns, 'eth0')).toBe(1350)
    expect(await mtuOf(a.netns, 'eth0')).toBe(1450)
    const seen = async (): Promise<number> =>
      (await node2.get<{ status: { network: { mtuBytes: number } } }>('/v1/objects/Node/-/node1')).status.network
        .mtuBytes
    await until(async () => (await seen()) === 1350, MEND_TIMEOUT_MS)
    // Both ways: what is too large for the peer is fragmented, or answered, by the node that sends.
    await c.netns.run('ping', '-c', '1', '-W', '2', '-M', 'dont', '-s', '1400', a.v4)
    expect((await c.netns.attempt('ping', '-c', '1', '-W', '2', '-M', 'do', '-s', '1400', a.v4)).stdout).toContain(
      'mtu = 1350',
    )
    await node1.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1500')
    await until(async () => (await mtuOf(node1.netns, 'polder0')) === 1450, MEND_TIMEOUT_MS)
    await node1.removePod(pod)
  })
})

describe('polderd --uninstall', () => {
  const flags = (): string[] => {
    const folder = join(cluster.folder, 'node1')
    return [
      ...['--node-name', 'node1', '--socket', node1.socket, '--state-dir', node1.stateDir],
      ...['--cluster-folder', join(cluster.folder, 'cluster')],
      ...['--cni-conf-dir', join(folder, 'net.d'), '--cni-bin-dir', join(folder, 'bin')],
    ]
  }

  it('is refused while polderd runs', async () => {
    const { code, stderr } = await node1.netns.attempt(POLDERD, '--uninstall', ...flags())
    expect(code).toBe(1)
    expect(stderr).toContain('systemctl stop polderd')
  })

  it('leaves nothing of polder on the host, and says what it removed; folders stay', async () => {
    await node1.stop()
    const said = await node1.netns.run(POLDERD, '--uninstall', ...flags())
    for (const removed of [
      '10-polder.conflist',
      'polder-cni',
      'table inet polder',
      'route 10.244.0.0/16',
      'device polder0',
    ]) {
      expect(said).toContain(removed)
    }
    expect(said).toContain(`kept ${node1.stateDir}`)
    const links = await node1.netns.json<{ ifname: string }[]>('ip', '-j', 'link')
    expect(links.map(({ ifname }) => ifname).sort()).toEqual(['lo', 'underlay', 'uplink'])
    expect(await node1.netns.run('nft', 'list', 'ruleset')).toBe('')
    expect((await node1.netns.run('ip', 'route')) + (await node1.netns.run('ip', '-6', 'route'))).not.toMatch(/244|114/)
    expect(readdirSync(join(cluster.folder, 'node1/net.d'))).toEqual([])
    expect(readdirSync(join(cluster.folder, 'node1/bin'))).toEqual([])
    expect(readFileSync(join(cluster.folder, 'cluster/nodes/node1.yaml'), 'utf8')).toContain('10.244.')
  })

  it('again: there is nothing to remove', async () => {
    expect(await node1.netns.run(POLDERD, '--uninstall', ...flags())).not.toContain('removed')
  })

  it('with --purge takes the state too, but no folder that other nodes share', async () => {
    const said = await node1.netns.run(POLDERD, '--uninstall', '--purge', ...flags())
    expect(said).toContain(`removed ${node1.stateDir}`)
    expect(said).toContain('it is also that of node2')
    await node1.start()
    expect((await node1.info()).podCIDRs).toHaveLength(2)
  })
})
