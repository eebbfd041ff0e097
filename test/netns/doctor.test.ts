/**
 * What polder finds wrong on a machine: each thing is broken for real, seen named by `polder doctor` with its remedy, and
 * gone once it is mended; firewalls by the very commands that the remedy names.
 *
 *   polderd (node1) ── underlay, 198.18.0.1 ─┬─ underlay, 198.18.0.2 ── polderd (node2)
 *   node1 ── uplink ── world                 └─ bridge
 */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Finding } from '../../daemon/api/types.ts'
import { runCli } from '../support/cli.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { connect, Netns, until } from '../support/netns.ts'

const POLDERD = join(import.meta.dirname, '../../scripts/polderd')
const DOCTOR = join(import.meta.dirname, '../../scripts/polder')
const WORLD = '203.0.113.80'
const TIMEOUT_MS = 10_000

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let world: Netns
let pod: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  world = await Netns.create('world')
  await connect(node1.netns, 'uplink', world, 'uplink')
  await node1.netns.run('ip', 'address', 'add', '198.18.9.1/24', 'dev', 'uplink')
  await world.run('ip', 'address', 'add', '198.18.9.2/24', 'dev', 'uplink')
  await world.run('ip', 'address', 'add', `${WORLD}/32`, 'dev', 'lo')
  await node1.netns.run('ip', 'route', 'add', 'default', 'via', '198.18.9.2')
  await node1.netns.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
  for (const { netns } of cluster.nodes) await netns.run('ethtool', '-K', 'underlay', 'gro', 'on')
  await cluster.start('--host-sysctls', 'check', '--underlay-gro', 'check')
  pod = await node1.addPod('a')
})

afterAll(async () => {
  await pod?.netns[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function found(id: string, node = node1): Promise<Finding | undefined> {
  return (await node.get<Finding[]>('/v1/findings')).find((finding) => finding.id === id)
}

const inCluster = (path: string): string => join(cluster.folder, 'cluster', path)
const shell =
  (script: string): (() => Promise<unknown>) =>
  () =>
    node1.netns.run('sh', '-ec', script)

/** A node that nobody runs: what another machine would have written. */
function writeNode(name: string, change: (status: string) => string): void {
  const spec = `apiVersion: v1\nkind: Node\nmetadata:\n  name: ${name}\nspec:\n  podCIDRs: [10.244.77.0/24]\n`
  const status = readFileSync(inCluster('nodes/node2.status.yaml'), 'utf8').replace('name: node2', `name: ${name}`)
  writeFileSync(inCluster(`nodes/${name}.yaml`), spec)
  writeFileSync(inCluster(`nodes/${name}.status.yaml`), change(status).replace(/^ *uid:.*\n/m, ''))
}

async function removeNode(name: string): Promise<void> {
  for (const ending of ['yaml', 'status.yaml']) rmSync(inCluster(`nodes/${name}.${ending}`), { force: true })
}

it('finds nothing on a machine that is all right', async () => {
  const { code, stdout } = await runCli(['doctor'], { socket: node1.socket })
  expect(stdout).toBe('node1\n  ✓ nothing is wrong\n')
  expect(code).toBe(0)
})

interface Breaking {
  id: string
  severity: Finding['severity']
  /** Part of the message. */
  says: string
  break: () => unknown
  mend: () => unknown
}

const BREAKINGS: Breaking[] = [
  {
    id: 'forwarding-off',
    severity: 'error',
    says: 'does not forward IPv4 (net.ipv4.ip_forward is 0)',
    break: shell('sysctl -qw net.ipv4.ip_forward=0'),
    mend: shell('sysctl -qw net.ipv4.ip_forward=1'),
  },
  {
    id: 'forwarding-off',
    severity: 'error',
    says: 'does not forward IPv6',
    break: shell('sysctl -qw net.ipv6.conf.all.forwarding=0'),
    mend: shell('sysctl -qw net.ipv6.conf.all.forwarding=1'),
  },
  {
    id: 'accept-ra',
    severity: 'warning',
    says: 'uplink has an IPv6 address from its router',
    break: shell(
      'sysctl -qw net.ipv6.conf.uplink.accept_ra=1; ip address add 2001:db8::5/64 dev uplink valid_lft 600 preferred_lft 600',
    ),
    mend: shell('sysctl -qw net.ipv6.conf.uplink.accept_ra=2'),
  },
  {
    id: 'rp-filter',
    severity: 'error',
    says: 'what node node2 sends to underlay is dropped',
    break: shell('sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 198.18.0.2/32 dev uplink'),
    mend: shell('sysctl -qw net.ipv4.conf.underlay.rp_filter=2'),
  },
  {
    id: 'range-overlap',
    severity: 'error',
    says: 'the route 10.244.99.0/24 dev uplink overlaps with the pod range 10.244.0.0/16',
    break: shell('ip route add 10.244.99.0/24 dev uplink'),
    mend: shell('ip route del 10.244.99.0/24 dev uplink'),
  },
  {
    id: 'range-shadows',
    severity: 'info',
    says: 'the route 10.0.0.0/8 via 198.18.9.2 dev uplink holds the pod range',
    break: shell('ip route add 10.0.0.0/8 via 198.18.9.2'),
    mend: shell('ip route del 10.0.0.0/8'),
  },
  {
    id: 'kernel-vxlan',
    severity: 'warning',
    says: 'the kernel VXLAN device flannel.1 (VNI 7) wants UDP port 4789',
    break: shell('ip link add flannel.1 type vxlan id 7 dstport 4789 dev underlay'),
    mend: shell('ip link del flannel.1'),
  },
  {
    id: 'receive-offload-off',
    severity: 'info',
    says: 'generic receive offload of underlay is off',
    break: shell('ethtool -K underlay gro off'),
    mend: shell('ethtool -K underlay gro on'),
  },
  {
    id: 'underlay-mtu',
    severity: 'error',
    says: 'the MTU of underlay is 1300: 1250 bytes are left for pods',
    break: shell('ip link set underlay mtu 1300'),
    mend: shell('ip link set underlay mtu 1500'),
  },
  {
    id: 'underlay-gone',
    severity: 'error',
    says: 'underlay no longer has 198.18.0.1',
    break: shell('ip address del 198.18.0.1/24 dev underlay'),
    mend: shell('ip address add 198.18.0.1/24 dev underlay'),
  },
  {
    id: 'underlay-down',
    severity: 'error',
    says: 'the underlay interface underlay is down',
    break: shell('ip link set underlay down'),
    mend: shell('ip link set underlay up'),
  },
  {
    id: 'mtu-differs',
    severity: 'warning',
    says: 'node2 1350',
    break: () => node2.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1400'),
    mend: () => node2.netns.run('ip', 'link', 'set', 'underlay', 'mtu', '1500'),
  },
  {
    id: 'same-underlay-address',
    severity: 'error',
    says: 'the nodes clone, node2 say that they are reached at the same address, 198.18.0.2',
    break: () => writeNode('clone', (status) => status),
    mend: () => removeNode('clone'),
  },
  {
    id: 'same-underlay-address',
    severity: 'error',
    says: 'the nodes vm1, vm2 say that they are reached at the same address, 10.0.2.15',
    break: () => {
      for (const name of ['vm1', 'vm2']) writeNode(name, (status) => status.replaceAll('198.18.0.2', '10.0.2.15'))
    },
    mend: () => Promise.all(['vm1', 'vm2'].map(removeNode)),
  },
  {
    id: 'same-machine-id',
    severity: 'warning',
    says: 'clone, node1, node2 are different machines with the same /etc/machine-id',
    break: () =>
      writeNode('clone', (status) =>
        status.replaceAll('198.18.0.2', '198.18.0.7').replace(/bootID: .*/, 'bootID: 0f0f0f0f-another-boot'),
      ),
    mend: () => removeNode('clone'),
  },
  {
    id: 'store-problem',
    severity: 'warning',
    says: 'pods/default/broken.yaml',
    break: () => writeFileSync(inCluster('pods/default/broken.yaml'), 'kind: Pood\n'),
    mend: () => rmSync(inCluster('pods/default/broken.yaml')),
  },
  {
    id: 'cni-shadowed',
    severity: 'error',
    says: '05-other.conf sorts before 10-polder.conflist',
    break: () => {
      const folder = join(cluster.folder, 'node1/net.d')
      copyFileSync(join(folder, '10-polder.conflist'), join(folder, '05-other.conf'))
    },
    mend: () => rmSync(join(cluster.folder, 'node1/net.d/05-other.conf')),
  },
]

describe('is seen while polderd runs, and gone once it is mended', () => {
  it.each(BREAKINGS)('$id: $says', async ({ id, severity, says, ...breaking }) => {
    await breaking.break()
    const finding = (await until(() => found(id), TIMEOUT_MS))!
    expect(finding).toMatchObject({ severity, message: expect.stringContaining(says) })
    const { code, stdout } = await runCli(['doctor'], { socket: node1.socket })
    expect(stdout).toContain(`${id}: `)
    expect(stdout).toContain(says)
    expect(stdout).toContain(finding.remedy)
    expect(code).toBe(severity === 'info' ? 0 : 1)
    await breaking.mend()
    await until(async () => (await found(id)) === undefined, TIMEOUT_MS)
    if (id === 'rp-filter') await node1.netns.run('ip', 'route', 'del', '198.18.0.2/32')
  })

  it('mended all of it: nothing is wrong any more', async () => {
    await until(async () => (await runCli(['doctor'], { socket: node1.socket })).code === 0, TIMEOUT_MS)
  })
})

describe('a firewall that drops what is forwarded is named, and its remedy helps', () => {
  const reachesWorld = async (): Promise<boolean> =>
    (await pod.netns.attempt('ping', '-c', '1', '-W', '1', WORLD)).code === 0

  it.each([
    [
      'nftables, by policy',
      'nft "add table inet fw; add chain inet fw through { type filter hook forward priority 0; policy drop; }"',
      'nft insert rule inet fw through',
      'nft delete table inet fw',
    ],
    [
      'nftables, by its last rule',
      'nft "add table ip fw; add chain ip fw through { type filter hook forward priority 0; }; add rule ip fw through ct mark 7 accept; add rule ip fw through counter reject"',
      'nft insert rule ip fw through',
      'nft delete table ip fw',
    ],
    ['iptables', 'iptables -P FORWARD DROP', 'iptables -I FORWARD', 'nft delete table ip filter'],
    [
      'Docker',
      'iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP',
      'iptables -I DOCKER-USER',
      'nft delete table ip filter',
    ],
    [
      'the older iptables',
      'iptables-legacy -P FORWARD DROP',
      'iptables-legacy -I FORWARD',
      'iptables-legacy -F FORWARD; iptables-legacy -P FORWARD ACCEPT',
    ],
  ])('%s', async (_, rules, remedy, undo) => {
    expect(await reachesWorld()).toBe(true)
    await node1.netns.run('sh', '-ec', rules)
    expect(await reachesWorld()).toBe(false)
    const finding = await found('forward-drop')
    expect(finding).toMatchObject({ severity: 'error', message: expect.stringContaining('from and to polder0') })
    expect(finding!.remedy).toContain(remedy)
    await node1.netns.run('sh', '-ec', finding!.remedy.replace('Let it pass: ', ''))
    expect(await found('forward-drop')).toBeUndefined()
    expect(await reachesWorld()).toBe(true)
    await node1.netns.run('sh', '-ec', undo)
  })
})

describe('is seen before polderd runs', () => {
  let alone: Netns

  beforeAll(async () => {
    alone = await Netns.create('alone')
    await connect(alone, 'eth0', world, 'alone')
    await alone.run('ip', 'address', 'add', '198.18.5.1/24', 'dev', 'eth0')
  })

  afterAll(async () => {
    await alone[Symbol.asyncDispose]()
  })

  /** `before` runs where what it mounts is seen by polderd only. */
  async function examine(before: string, ...flags: string[]): Promise<Finding[]> {
    const folders = ['--cni-conf-dir', join(cluster.folder, 'none'), '--socket', join(cluster.folder, 'none.sock')]
    const script = `${before}\nexec "$@"`
    return JSON.parse(
      await alone.run('sh', '-ec', script, 'sh', POLDERD, '--doctor', ...folders, ...flags),
    ) as Finding[]
  }

  it.each([
    ['no-tun', 'there is no /dev/net/tun', 'mount -t tmpfs none /dev/net', []],
    ['no-nft', 'the program nft is not installed', 'mount --bind /dev/null /usr/sbin/nft', []],
    [
      'bad-underlay',
      'no interface that is up has the underlay address 192.0.2.9',
      '',
      ['--underlay-address', '192.0.2.9'],
    ],
    ['kernel-vxlan', 'vx0 (VNI 5) holds UDP port 4789', 'ip link add vx0 up type vxlan id 5 dstport 4789 dev eth0', []],
    ['port-taken', 'UDP port 4789 of 198.18.5.1 is taken', '', []],
    ['forwarding-off', 'does not forward IPv4', '', []],
    ['receive-offload-off', 'receive offload of eth0 is off', '', []],
    [
      'nat-underlay',
      "VirtualBox's NAT network",
      'ip address add 10.0.2.15/24 dev eth0',
      ['--underlay-address', '10.0.2.15'],
    ],
  ])('%s: %s', async (id, says, before, flags) => {
    const finding = (await examine(before, ...flags)).find((one) => one.id === id)
    expect(finding?.message).toContain(says)
    expect(finding?.remedy).not.toBe('')
  })

  it('and nothing of it once it is mended', async () => {
    await alone.run('ip', 'link', 'del', 'vx0')
    await alone.run('ethtool', '-K', 'eth0', 'gro', 'on')
    await alone.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
    expect(await examine('')).toEqual([])
  })

  it('by the polder command, which says how to start polderd', async () => {
    const environment = ['env', `POLDER_SOCKET=${join(cluster.folder, 'none.sock')}`]
    const { code, stdout } = await alone.attempt(...environment, DOCTOR, 'doctor')
    expect(code).toBe(1)
    expect(stdout).toContain('this machine\n  ✗ no-daemon: ')
    expect(stdout).toContain('systemctl start polderd')
  })

  it('is refused where polderd runs: it would find polderd itself', async () => {
    const { code, stderr } = await node1.netns.attempt(POLDERD, '--doctor', '--socket', node1.socket)
    expect(code).toBe(1)
    expect(stderr).toContain('polder doctor')
  })
})

describe('at its start polderd says it in the log', () => {
  it('with the remedy, and runs all the same', async () => {
    await node2.stop()
    await node2.netns.run('ip', 'route', 'add', '10.244.99.0/24', 'dev', 'underlay')
    await node2.start('--host-sysctls', 'check')
    await until(() => node2.log.includes('"finding":"range-overlap"'), TIMEOUT_MS)
    const line = node2.log.split('\n').findLast((one) => one.includes('range-overlap'))!
    expect(JSON.parse(line)).toMatchObject({
      level: 50,
      remedy: expect.stringContaining('ip route del 10.244.99.0/24'),
    })
  })
})
