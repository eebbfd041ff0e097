/** What of the host's upkeep and checks is pure: the table's text, firewalls as they are listed, flags, offloads. */
import { describe, expect, test } from 'vitest'
import { readTask } from '../../daemon/config/task.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { Inspected } from '../../daemon/host/findings/check.ts'
import { forwardDrop } from '../../daemon/host/findings/firewall.ts'
import { kubeProxy } from '../../daemon/host/findings/kube-proxy.ts'
import { underlayAddressOf } from '../../daemon/host/findings/nodes.ts'
import { parseRuleset } from '../../daemon/host/findings/ruleset.ts'
import { offloadsMissing } from '../../daemon/host/findings/software.ts'
import { tableScript } from '../../daemon/host/nftables.ts'
import { decodeGeneration } from '../../daemon/netlink/nf-tables.ts'
import { OFFLOAD_TUN_USO, OFFLOAD_UDP_GRO, OFFLOAD_UDP_SEGMENT } from '../../daemon/nic/nic.ts'

describe('the nftables table', () => {
  const spec = {
    podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
    ownRanges: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
    nodeAddresses: ['198.18.0.1', '198.18.0.2'],
    device: 'polder0',
    vxlanPort: 4789,
    nodePorts: [],
    hostPorts: [],
    externals: [],
    virtualAddresses: ['10.244.1.0', 'fd00:10:244:1::'],
  }

  test('replaces itself, and masquerades what leaves the cluster', () => {
    expect(tableScript(spec)).toBe(`add table inet polder
delete table inet polder
table inet polder {
  set cluster4 {
    type ipv4_addr; flags interval; auto-merge
    elements = { 10.244.0.0/16, 198.18.0.1, 198.18.0.2 }
  }
  set cluster6 {
    type ipv6_addr; flags interval; auto-merge
    elements = { fd00:10:244::/48 }
  }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    udp dport 4789 notrack
  }
  chain output {
    type filter hook output priority raw; policy accept;
    udp dport 4789 meta skuid != 0 ip daddr { 198.18.0.1, 198.18.0.2 } drop
    udp dport 4789 notrack
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != "polder0" ip saddr { 10.244.1.0/24 } ip daddr != @cluster4 masquerade
    oifname != "polder0" ip6 saddr { fd00:10:244:1::/64 } ip6 daddr != @cluster6 masquerade
  }
}
`)
  })

  test('sends node ports on to the address that leads to polder0, and shows who would be answered past it as the node', () => {
    const nodePorts = (['TCP', 'UDP'] as const).map((protocol) => ({ protocol, port: 30_080, family: 'IPv4' as const }))
    const lines = tableScript({ ...spec, nodePorts })
      .split('\n')
      .map((line) => line.trim())
    expect(lines).toContain('elements = { tcp . 30080, udp . 30080 }')
    const dnat = 'meta nfproto ipv4 fib daddr type local meta l4proto . th dport @nodeports4 dnat ip to 10.244.1.0'
    expect(lines.filter((line) => line === dnat)).toHaveLength(2)
    expect(lines).toContain('oifname "polder0" ip daddr 10.244.1.0 ip saddr 127.0.0.0/8 masquerade')
    expect(lines).toContain('oifname "polder0" ip daddr 10.244.1.0 ip saddr @cluster4 masquerade')
    expect(lines.join()).not.toContain('nodeports6')
  })

  test('sends host ports on, those of one address before those of all, and both before node ports', () => {
    const common = { family: 'IPv4', protocol: 'TCP', port: 80, virtualAddress: '10.244.1.0' } as const
    const hostPorts = [
      { ...common, address: undefined, virtualPort: 80 },
      { ...common, address: '192.0.2.7', virtualPort: 1024 },
    ]
    const nodePorts = [{ protocol: 'TCP' as const, port: 30_080, family: 'IPv4' as const }]
    const lines = tableScript({ ...spec, hostPorts, nodePorts })
      .split('\n')
      .map((line) => line.trim())
    expect(lines).toContain('elements = { tcp . 80 : 10.244.1.0 . 80 }')
    expect(lines).toContain('elements = { 192.0.2.7 . tcp . 80 : 10.244.1.0 . 1024 }')
    const first = lines.indexOf('chain nodeports-forward {') + 2
    expect(lines.slice(first, first + 3)).toEqual([
      'meta nfproto ipv4 fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @hostips4',
      'meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @hostports4',
      'meta nfproto ipv4 fib daddr type local meta l4proto . th dport @nodeports4 dnat ip to 10.244.1.0',
    ])
    expect(lines).toContain('oifname "polder0" ip daddr 10.244.1.0 ip saddr 127.0.0.0/8 masquerade')
    expect(lines.join()).not.toContain('hostports6')
  })

  test('sends an address of the host that is a Service’s on to its cluster address', () => {
    const externals = [
      { ip: '198.18.0.1', protocol: 'TCP' as const, port: 80, clusterIP: '10.96.0.9' },
      { ip: 'fd00:198:18::1', protocol: 'UDP' as const, port: 53, clusterIP: 'fd00:10:96::9' },
    ]
    const lines = tableScript({ ...spec, externals })
      .split('\n')
      .map((line) => line.trim())
    expect(lines).toContain('elements = { 198.18.0.1 . tcp . 80 : 10.96.0.9 }')
    expect(lines).toContain('elements = { fd00:198:18::1 . udp . 53 : fd00:10:96::9 }')
    const dnat = 'fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @externals4'
    expect(lines.filter((line) => line === dnat)).toHaveLength(2)
    expect(lines).toContain('oifname "polder0" ct status dnat ip daddr { 10.96.0.9 } ip saddr @cluster4 masquerade')
  })

  test('is the same in whatever order the nodes come', () => {
    expect(tableScript({ ...spec, nodeAddresses: spec.nodeAddresses.toReversed() })).toBe(tableScript(spec))
  })

  test('has nothing of a family that the cluster has not', () => {
    const script = tableScript({ ...spec, podCIDRs: ['10.244.0.0/16'], ownRanges: ['10.244.1.0/24'] })
    expect(script).not.toMatch(/ip6|ipv6|cluster6/)
  })

  test.each(['198.18.0.1; flush ruleset', 'fe80::1%eth0', '', '10.0.0.0/8'])('takes no node address %j', (address) => {
    const metadata = { name: 'evil', annotations: { 'polder/underlay-address': address } }
    expect(underlayAddressOf({ apiVersion: 'v1', kind: 'Node', metadata, spec: { podCIDRs: [] } })).toBeUndefined()
  })
})

test.each<[string, object[], Map<string, string>, string | undefined]>([
  ['nothing', [], new Map(), undefined],
  [
    'its nftables',
    [{ chain: { family: 'ip', table: 'kube-proxy', name: 'services' } }],
    new Map(),
    'table ip kube-proxy',
  ],
  ['its iptables', [{ chain: { family: 'ip', table: 'nat', name: 'KUBE-SERVICES' } }], new Map(), 'KUBE-SERVICES'],
  ['its older iptables', [], new Map([['iptables-legacy', '-N KUBE-SERVICES']]), 'iptables-legacy'],
])('kube-proxy is known by %s', (_, listed, legacy, place) => {
  const ruleset = { ...parseRuleset(JSON.stringify({ nftables: listed })), legacy }
  const netlink = { link: () => undefined }
  const at = (services: string) => kubeProxy({ config: { services }, netlink, ruleset } as unknown as Inspected)
  const found = at('on')
  expect(at('off')).toEqual([])
  expect(found.map(({ id }) => id)).toEqual(place === undefined ? [] : ['kube-proxy'])
  expect(found.map(({ message }) => message).join()).toContain(place ?? '')
})

describe('firewalls that drop what is forwarded', () => {
  const base = (table: string, name: string, policy = 'drop', family = 'ip') => ({
    chain: { family, table, name, type: 'filter', hook: 'forward', policy },
  })
  const rule = (table: string, chain: string, ...expr: object[]) => ({ rule: { family: 'ip', table, chain, expr } })
  const match = (key: string, right: unknown) => ({ match: { op: '==', left: { meta: { key } }, right } })
  const address = (field: string, addr: string) => ({
    match: { op: '==', left: { payload: { protocol: 'ip', field } }, right: { prefix: { addr, len: 16 } } },
  })
  const accept = { accept: null }
  const through = [
    rule('filter', 'FORWARD', match('iifname', 'polder0'), accept),
    rule('filter', 'FORWARD', match('oifname', 'polder0'), accept),
  ]

  const look = (...listed: object[]): string[] => {
    const ruleset = { ...parseRuleset(JSON.stringify({ nftables: listed })), legacy: new Map() }
    const config = { podCIDRs: ['10.244.0.0/16'] }
    return forwardDrop({ config, ruleset } as unknown as Inspected).map(({ message, remedy }) => `${message} ${remedy}`)
  }

  test.each([
    ['none', []],
    ['a policy of accept', [base('filter', 'FORWARD', 'accept')]],
    [
      'another hook',
      [{ chain: { family: 'ip', table: 'filter', name: 'INPUT', type: 'filter', hook: 'input', policy: 'drop' } }],
    ],
    ['one that lets polder0 pass', [base('filter', 'FORWARD'), ...through]],
    [
      'one that lets the pods pass by address',
      [
        base('filter', 'FORWARD'),
        rule('filter', 'FORWARD', address('saddr', '10.244.0.0'), accept),
        rule('filter', 'FORWARD', address('daddr', '10.244.0.0'), accept),
      ],
    ],
    ['one that lets all pass', [base('filter', 'FORWARD'), rule('filter', 'FORWARD', { counter: {} }, accept)]],
    [
      'one that drops only something',
      [base('fw', 'f', 'accept'), rule('fw', 'f', match('iifname', 'eth0'), { drop: null })],
    ],
    ['a rule without a statement', [base('fw', 'f', 'accept'), { rule: { family: 'ip', table: 'fw', chain: 'f' } }]],
  ])('%s: nothing to say', (_, listed) => {
    expect(look(...listed)).toEqual([])
  })

  test.each([
    [
      'ufw',
      [base('filter', 'FORWARD'), { chain: { family: 'ip', table: 'filter', name: 'ufw-user-forward' } }],
      'ufw route allow in on polder0',
    ],
    [
      'firewalld',
      [base('firewalld', 'filter_FORWARD', 'accept', 'ip'), rule('firewalld', 'filter_FORWARD', { reject: {} })],
      'firewall-cmd',
    ],
    [
      'Docker',
      [base('filter', 'FORWARD'), { chain: { family: 'ip', table: 'filter', name: 'DOCKER-USER' } }],
      'iptables -I DOCKER-USER',
    ],
    ['ip6tables', [base('filter', 'FORWARD', 'drop', 'ip6')], 'ip6tables -I FORWARD'],
    ['by hand', [base('mine', 'through')], 'nft insert rule ip mine through iifname polder0 accept'],
    ['one that lets pass one way only', [base('filter', 'FORWARD'), through[0]!], 'forwards to polder0'],
  ])('%s is named, with its own remedy', (_, listed, remedy) => {
    expect(look(...listed).join()).toContain(remedy)
  })
})

test('offloads: only what is missing is named', () => {
  const all = OFFLOAD_UDP_SEGMENT | OFFLOAD_UDP_GRO | OFFLOAD_TUN_USO
  expect(offloadsMissing(all)).toEqual([])
  expect(offloadsMissing(all & ~OFFLOAD_TUN_USO)).toMatchObject([
    { id: 'offloads', severity: 'info', message: expect.stringContaining('lacks USO on TUN devices (Linux 6.2):') },
  ])
})

test('the generation of nftables is read in network byte order, and its absence is an error', () => {
  expect(decodeGeneration(Uint8Array.of(0, 0, 0, 0, 8, 0, 1, 0, 0x01, 0x02, 0x03, 0x04))).toBe(0x01020304)
  expect(() => decodeGeneration(Uint8Array.of(0, 0, 0, 0))).toThrow('without its number')
})

describe('the flags that name a task', () => {
  test.each([
    [[], 'run', false],
    [['--doctor'], 'doctor', false],
    [['--uninstall'], 'uninstall', false],
    [['--uninstall', '--purge'], 'uninstall', true],
  ] as const)('%j', (flags, task, purge) => {
    expect(readTask([...flags, '--node-name', 'a'])).toEqual({ task, purge, settings: ['--node-name', 'a'] })
  })

  test.each([['--purge'], ['--doctor', '--uninstall']])('%s %s is refused', (...flags) => {
    expect(() => readTask(flags)).toThrow(PolderError)
  })
})
