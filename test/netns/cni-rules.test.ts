/**
 * The rules of the CNI specification, one by one, on the real shim and a real polderd: what is refused and with which
 * code, the life of an attachment in every version, and what CHECK, GC and STATUS find.
 *
 *   polder-cni ──Unix socket──  polderd in polder-t<pid>-node1  ──TUN eth0──  polder-t<pid>-…
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { CNI_VERSIONS, type CniVersion } from '../../daemon/cni/versions.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { Netns } from '../support/netns.ts'
import { errorOf, type ShimAnswer } from '../support/shim.ts'

let cluster: TestCluster
let node: TestNode
let pod: Netns

beforeAll(async () => {
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  await cluster.start()
  pod = await Netns.create('pod')
})

afterAll(async () => {
  await pod[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

/** A call about container c1 in the pod's namespace, in 1.1.0, but for what is changed; undefined leaves a variable out. */
function call(command: string, changes: object | string = {}, env: Record<string, string | undefined> = {}) {
  const usual = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0' }
  const environment = Object.entries({ ...usual, ...env }).filter(([, value]) => value !== undefined)
  const config = typeof changes === 'string' ? changes : { cniVersion: '1.1.0', ...changes }
  return node.shim(Object.fromEntries(environment) as Record<string, string>, config)
}

/** The JSON of a successful call. */
function resultOf(answer: ShimAnswer) {
  expect(answer, answer.stdout).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(answer.stdout)
}

const silent = { code: 0, stdout: '', stderr: '' }
const attached = () => node.get<Attachment[]>('/v1/attachments')

async function expectNothingLeft(): Promise<void> {
  expect(await attached()).toEqual([])
  expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
  const files = readdirSync(join(node.stateDir, 'attachments'))
  expect(files.filter((name) => !name.endsWith('.released'))).toEqual([])
}

type Row = [
  rule: string,
  command: string,
  config: object | string,
  env: Record<string, string | undefined>,
  code: number,
  words: string[],
]

const nested = (levels: number) => `{"cniVersion":"1.1.0","name":"a","x":${'['.repeat(levels)}${']'.repeat(levels)}}`
const wish = (runtimeConfig: unknown) => ({ runtimeConfig })
const prevResult = { interfaces: [{ name: 'eth0', sandbox: '/x' }], ips: [{ address: '10.244.1.3/32' }] }

// biome-ignore format: a table
const REFUSALS: Row[] = [
  ['a configuration without version is of 0.1.0', 'ADD', { cniVersion: undefined }, {}, 1, ['0.1.0']],
  ['a version too old', 'ADD', { cniVersion: '0.2.0' }, {}, 1, ['0.2.0', '1.1.0']],
  ['a version too new', 'ADD', { cniVersion: '2.0.0' }, {}, 1, ['2.0.0', '1.1.0']],
  ['DEL of a version too new', 'DEL', { cniVersion: '2.0.0' }, {}, 1, ['2.0.0']],
  ['CHECK below 0.4.0', 'CHECK', { cniVersion: '0.3.1', prevResult }, {}, 1, ['CHECK', '0.3.1', '0.4.0']],
  ...['0.3.1', '0.4.0', '1.0.0'].map((version): Row => ['GC below 1.1.0', 'GC', { cniVersion: version }, {}, 1, ['GC', version]]),
  ...['0.3.1', '0.4.0', '1.0.0'].map((version): Row => ['STATUS below 1.1.0', 'STATUS', { cniVersion: version }, {}, 1, ['STATUS', version]]),

  ['a field polder has not', 'ADD', { bridge: 'cni0' }, {}, 2, ['bridge', 'cni0']],
  ['an IPAM plugin', 'ADD', { ipam: { type: 'host-local' } }, {}, 2, ['ipam', 'host-local']],
  ['a field polder has not, at STATUS', 'STATUS', { bridge: 'cni0' }, {}, 2, ['bridge', 'cni0']],
  ['a host port of no container', 'ADD', wish({ portMappings: [{ hostPort: 8080 }] }), {}, 7, ['portMappings.0.containerPort']],
  ['a host port twice', 'ADD', wish({ portMappings: [1, 2].map((containerPort) => ({ hostPort: 8080, containerPort })) }), {}, 106, ['8080/TCP', 'twice']],
  ['a bandwidth', 'ADD', wish({ bandwidth: { ingressRate: 1000 } }), {}, 2, ['bandwidth', '1000']],
  ['a MAC address', 'ADD', wish({ mac: '02:00:00:00:00:01' }), {}, 2, ['mac', '02:00:00:00:00:01', 'TUN']],
  ['aliases', 'ADD', wish({ aliases: { polder: ['web'] } }), {}, 2, ['aliases', 'web']],
  ['a capability nobody knows', 'ADD', wish({ constructor: 1 }), {}, 2, ['constructor', '1']],
  ['two addresses of a family', 'ADD', wish({ ips: ['10.244.1.9', '10.244.1.10'] }), {}, 2, ['ips', '10.244.1.9']],

  ['CHECK of what is not attached', 'CHECK', { prevResult }, {}, 3, ['c1', 'eth0']],

  ['no command', 'ADD', {}, { CNI_COMMAND: undefined }, 4, ['CNI_COMMAND']],
  ['a command nobody knows', 'PING', {}, {}, 4, ['CNI_COMMAND', 'PING']],
  ['ADD without anything', 'ADD', {}, { CNI_CONTAINERID: undefined, CNI_NETNS: '', CNI_IFNAME: undefined }, 4, ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']],
  ['CHECK without namespace', 'CHECK', {}, { CNI_NETNS: '' }, 4, ['CNI_NETNS']],
  ['DEL without anything', 'DEL', {}, { CNI_CONTAINERID: '', CNI_IFNAME: '' }, 4, ['CNI_CONTAINERID', 'CNI_IFNAME']],
  ['GC without path', 'GC', {}, { CNI_PATH: '' }, 4, ['CNI_PATH']],
  ['a container id that leads elsewhere', 'ADD', {}, { CNI_CONTAINERID: '../c1' }, 4, ['CNI_CONTAINERID', '../c1']],
  ['a container id that begins with a dot', 'DEL', {}, { CNI_CONTAINERID: '.c1' }, 4, ['CNI_CONTAINERID']],
  ['a container id of 201 letters', 'ADD', {}, { CNI_CONTAINERID: 'c'.repeat(201) }, 4, ['CNI_CONTAINERID']],
  ['an interface name of 16 letters', 'ADD', {}, { CNI_IFNAME: 'e'.repeat(16) }, 4, ['CNI_IFNAME']],
  ['an interface name with a slash', 'ADD', {}, { CNI_IFNAME: 'a/b' }, 4, ['CNI_IFNAME', 'a/b']],
  ['an interface name with a colon', 'ADD', {}, { CNI_IFNAME: 'a:b' }, 4, ['CNI_IFNAME']],
  ['an interface name with a space', 'ADD', {}, { CNI_IFNAME: 'a b' }, 4, ['CNI_IFNAME']],
  ['a folder as interface name', 'DEL', {}, { CNI_IFNAME: '..' }, 4, ['CNI_IFNAME']],
  ['a namespace that is not there', 'ADD', {}, { CNI_NETNS: '/run/netns/polder-t-none' }, 4, ['CNI_NETNS', 'polder-t-none']],
  ['a namespace that is a folder', 'ADD', {}, { CNI_NETNS: '/tmp' }, 4, ['CNI_NETNS', '/tmp']],
  ['a namespace of another kind', 'ADD', {}, { CNI_NETNS: '/proc/1/ns/uts' }, 4, ['CNI_NETNS', '/proc/1/ns/uts']],
  ['the namespace of polderd', 'ADD', {}, { CNI_NETNS: '/proc/self/ns/net' }, 4, ['CNI_NETNS', 'own']],
  ['arguments that are no pairs', 'ADD', {}, { CNI_ARGS: 'K8S_POD_NAME' }, 4, ['CNI_ARGS', 'K8S_POD_NAME']],
  ['arguments nobody knows', 'ADD', {}, { CNI_ARGS: 'COLOUR=red' }, 4, ['CNI_ARGS', 'COLOUR', 'IgnoreUnknown']],
  ['a MAC address in the arguments', 'ADD', {}, { CNI_ARGS: 'IgnoreUnknown=1;MAC=02:00:00:00:00:01' }, 4, ['CNI_ARGS', 'MAC']],
  ['an address in the arguments that is none', 'ADD', {}, { CNI_ARGS: 'IP=web' }, 4, ['CNI_ARGS', 'IP=web']],

  ['no configuration', 'ADD', '', {}, 6, ['empty']],
  ['half a configuration', 'DEL', '{"cniVersion":', {}, 6, ['JSON']],
  ['a configuration that is a list', 'ADD', '[]', {}, 6, ['object']],
  ['a version that is a number', 'ADD', { cniVersion: 1 }, {}, 6, ['cniVersion', '1']],
  ['a version that is a word', 'ADD', { cniVersion: 'newest' }, {}, 6, ['cniVersion', 'newest']],
  ['a configuration nested too deep', 'ADD', nested(200_000), {}, 6, ['64 levels']],
  ['a configuration larger than 1 MiB', 'ADD', `{"x":"${'x'.repeat(1 << 20)}"}`, {}, 6, ['1 MiB']],

  ['no name', 'ADD', { name: undefined }, {}, 7, ['name']],
  ['a name that leads elsewhere', 'ADD', { name: '../polder' }, {}, 7, ['name']],
  ['an earlier result that is none', 'ADD', { prevResult: { ips: [{ address: 'web' }] } }, {}, 7, ['prevResult.ips.0.address']],
  ['an earlier result with a wrong route', 'ADD', { prevResult: { routes: [{ dst: 'default' }] } }, {}, 7, ['prevResult.routes.0.dst']],
  ['DNS servers that are none', 'ADD', { dns: { nameservers: ['dns.example'] } }, {}, 7, ['dns.nameservers.0']],
  ['a runtimeConfig that is text', 'ADD', wish('ips'), {}, 7, ['runtimeConfig']],
  ['addresses that are none', 'ADD', wish({ ips: ['10.244.1.300'] }), {}, 7, ['runtimeConfig.ips.0']],
  ['DNS servers of a pod that are none', 'ADD', wish({ dns: { servers: [1] } }), {}, 7, ['runtimeConfig.dns.servers.0']],
  ['CHECK without the result of ADD', 'CHECK', {}, {}, 7, ['prevResult']],
  ['a list of valid attachments that is none', 'GC', { 'cni.dev/valid-attachments': {} }, {}, 7, ['cni.dev/valid-attachments']],
  ['a valid attachment without interface', 'GC', { 'cni.dev/valid-attachments': [{ containerID: 'c1' }] }, {}, 7, ['ifname']],
  ['a socket path too long for a socket', 'ADD', { socket: `/${'x'.repeat(107)}` }, {}, 7, ['socket', '107']],

  ['an address outside the range', 'ADD', wish({ ips: ['192.0.2.1'] }), {}, 104, ['192.0.2.1', '10.244.1.0/24']],
  ['the address of the gateway', 'ADD', wish({ ips: ['10.244.1.1'] }), {}, 104, ['10.244.1.1']],
  ['the broadcast address', 'ADD', wish({ ips: ['fd00:10:244:1::9', '10.244.1.255'] }), {}, 104, ['10.244.1.255']],
]

describe('is refused, and leaves nothing', () => {
  test.each(REFUSALS)('%s (%s)', async (_, command, config, env, code, words) => {
    const error = errorOf(await call(command, config, env))
    expect(error).toMatchObject({ code, cniVersion: expect.stringMatching(/^\d\.\d\.\d$/) })
    expect(error.details).not.toBe('')
    for (const word of words) expect(`${error.msg} ${error.details}`).toContain(word)
    await expectNothingLeft()
  })

  test('in the version asked for', async () => {
    for (const { version } of CNI_VERSIONS) {
      expect(errorOf(await call('ADD', { cniVersion: version, bridge: 'x' })).cniVersion).toBe(version)
    }
  })
})

describe('asks for nothing, and so is no reason to refuse', () => {
  // biome-ignore format: a table
  test.each<[string, object, Record<string, string>]>([
    ['empty fields', { ipam: {}, ipMasq: false, mac: '', args: { any: { thing: 1 } }, 'cni.dev/other': 1 }, {}],
    ['empty capabilities', wish({ portMappings: [], PortMappings: null, bandwidth: {}, ips: [], dns: null, mac: '' }), {}],
    ['no runtimeConfig', wish(null), {}],
    ['arguments to ignore', {}, { CNI_ARGS: 'IgnoreUnknown=1;COLOUR=red;K8S_POD_NAME=web' }],
  ])('%s', async (_, config, env) => {
    resultOf(await call('ADD', config, env))
    expect(await call('DEL', config, env)).toEqual(silent)
    await expectNothingLeft()
  })
})

/** What ADD says of a pod that asked for 10.244.1.77. */
function resultOf77({ version: cniVersion, ipsNameTheirFamily, interfacesHaveMtu }: CniVersion, mtu: number) {
  const ip = (version: string, address: string, gateway: string) => ({
    ...(ipsNameTheirFamily && { version }),
    ...{ interface: 0, address, gateway },
  })
  return {
    cniVersion,
    interfaces: [{ name: 'eth0', mac: '00:00:00:00:00:00', ...(interfacesHaveMtu && { mtu }), sandbox: pod.path }],
    ips: [ip('4', '10.244.1.77/32', '10.244.1.1'), ip('6', 'fd00:10:244:1::4d/128', 'fd00:10:244:1::1')],
    routes: [
      { dst: '0.0.0.0/0', gw: '10.244.1.1' },
      { dst: '::/0', gw: 'fd00:10:244:1::1' },
    ],
    dns: {},
  }
}

describe.each(CNI_VERSIONS)('in $version', (version) => {
  const { version: cniVersion, commands, ipsNameTheirFamily } = version
  test('an attachment lives and goes, and its address is free again', async () => {
    const wanted = wish({ ips: ['10.244.1.77/24'] })
    const config = { cniVersion, ...wanted }
    const result = resultOf(await call('ADD', config))
    expect(result).toEqual(resultOf77(version, (await node.info()).mtuBytes))
    expect(await pod.run('ip', 'addr', 'show', 'eth0')).toContain('10.244.1.77/32')
    expect(errorOf(await call('ADD', config)).code, 'ADD on what exists').toBe(100)
    expect(errorOf(await call('ADD', { cniVersion }, { CNI_CONTAINERID: 'c2' })).code, 'ADD by another').toBe(100)
    const taken = errorOf(await call('ADD', config, { CNI_CONTAINERID: 'c3', CNI_IFNAME: 'eth1' }))
    expect(taken).toMatchObject({ code: 104, msg: expect.stringContaining('in use') })
    if (commands.includes('CHECK')) {
      expect(await call('CHECK', { ...config, prevResult: result })).toEqual(silent)
    }
    expect(await call('DEL', { ...config, prevResult: result })).toEqual(silent)
    await expectNothingLeft()
    expect(await call('DEL', config, { CNI_NETNS: '' }), 'DEL again').toEqual(silent)
    expect(resultOf(await call('ADD', config)).ips, 'free again').toEqual(result.ips)
    expect(await call('DEL', { cniVersion }, { CNI_NETNS: undefined }), 'DEL without namespace').toEqual(silent)
    await expectNothingLeft()
  })

  test('an earlier result passes through', async () => {
    const ips = [{ ...(ipsNameTheirFamily && { version: '4' }), interface: 1, address: '192.0.2.7/24' }]
    const earlier = {
      cniVersion,
      interfaces: [
        { name: 'br0', mac: '02:00:00:00:00:01' },
        { name: 'net1', sandbox: pod.path },
      ],
      ips,
      routes: [{ dst: '192.0.2.0/24' }],
      dns: { domain: 'example' },
    }
    const result = resultOf(
      await call('ADD', { cniVersion, prevResult: earlier, dns: { nameservers: ['10.96.0.10'] } }),
    )
    expect(result.cniVersion).toBe(cniVersion)
    expect(result.interfaces.slice(0, 2)).toEqual(earlier.interfaces)
    expect(result.interfaces[2]).toMatchObject({ name: 'eth0', sandbox: pod.path })
    expect(result.ips).toEqual([ips[0], ...result.ips.slice(1)])
    expect(result.ips.slice(1).map((ip: { interface: number }) => ip.interface)).toEqual([2, 2])
    expect(result.routes[0]).toEqual(earlier.routes[0])
    expect(result.dns).toEqual({ domain: 'example', nameservers: ['10.96.0.10'] })
    expect(await call('DEL', { cniVersion, prevResult: result })).toEqual(silent)
  })

  test.each(['', `{"cniVersion":"${cniVersion}"}`])('VERSION with stdin %j', async (stdin) => {
    const answer = resultOf(await call('VERSION', stdin, { CNI_NETNS: 'dummy', CNI_CONTAINERID: undefined }))
    const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0']
    expect(answer).toEqual({ cniVersion: stdin === '' ? '1.1.0' : cniVersion, supportedVersions })
  })
})

describe('wishes', () => {
  // biome-ignore format: a table
  test.each<[string, object, Record<string, string>, string[]]>([
    ['one address of both families', wish({ ips: ['10.244.1.40', 'fd00:10:244:1::40/64'] }), {}, ['10.244.1.40', 'fd00:10:244:1::40']],
    ['IPv6 alone', wish({ IPs: ['FD00:10:244:1::0051'] }), {}, ['10.244.1.81', 'fd00:10:244:1::51']],
    ['by args', { args: { cni: { ips: ['10.244.1.41'] } } }, {}, ['10.244.1.41', 'fd00:10:244:1::29']],
    ['by CNI_ARGS', {}, { CNI_ARGS: 'IgnoreUnknown=1;IP=10.244.1.42/16' }, ['10.244.1.42', 'fd00:10:244:1::2a']],
    ['runtimeConfig first', { ...wish({ ips: ['10.244.1.43'] }), args: { cni: { ips: ['10.244.1.9'] } } }, { CNI_ARGS: 'IP=10.244.1.8' }, ['10.244.1.43', 'fd00:10:244:1::2b']],
  ])('for addresses: %s', async (_, config, env, addresses) => {
    resultOf(await call('ADD', config, env))
    expect((await attached()).map((each) => each.addresses)).toEqual([addresses])
    expect(await call('DEL', config, env)).toEqual(silent)
  })

  test('for DNS go into the result, whatever the case of their keys', async () => {
    const dns = { nameservers: ['192.0.2.53'], search: ['of.the.network'], domain: 'example' }
    const asked = { Servers: ['10.96.0.10'], searches: ['svc.cluster.local'], OPTIONS: ['ndots:5'] }
    const result = resultOf(await call('ADD', { dns, ...wish({ DNS: asked }) }))
    expect(result.dns).toEqual({
      ...{ nameservers: ['10.96.0.10'], search: ['svc.cluster.local'], options: ['ndots:5'], domain: 'example' },
    })
    expect(await call('DEL')).toEqual(silent)
  })
})

describe('CHECK', () => {
  // biome-ignore format: a table
  test.each([
    ['a missing address', 'ip addr del 10.244.1.60/32 dev eth0', 'address 10.244.1.60'],
    ['a missing IPv6 address', 'ip addr del fd00:10:244:1::3c/128 dev eth0', 'address fd00:10:244:1::3c'],
    ['a missing route', 'ip route del default', 'route to 0.0.0.0/0'],
    ['a missing IPv6 route', 'ip -6 route del default', 'route to ::/0'],
    ['a missing way to the gateway', 'ip route del 10.244.1.1', 'route to 10.244.1.1/32'],
    ['a device that is down', 'ip link set eth0 down', 'interface eth0 is down'],
    ['a missing device', 'ip link del eth0', 'interface eth0 is missing'],
  ])('fails on %s', async (_, damage, words) => {
    const config = wish({ ips: ['10.244.1.60'] })
    const result = resultOf(await call('ADD', config))
    await pod.run('sh', '-c', damage)
    const error = errorOf(await call('CHECK', { ...config, prevResult: result }))
    expect(error).toMatchObject({ code: 102, msg: expect.stringContaining(words) })
    expect(await call('DEL')).toEqual(silent)
    await expectNothingLeft()
  })

  test('fails on a result of another attachment, and in another namespace', async () => {
    await using other = await Netns.create('other')
    const result = resultOf(await call('ADD'))
    const noDevice = { ...result, interfaces: [{ name: 'net1', sandbox: pod.path }] }
    const otherAddress = { ...result, ips: [{ address: '10.244.1.99/32', interface: 0 }] }
    expect(errorOf(await call('CHECK', { prevResult: noDevice }))).toMatchObject({ code: 102, msg: /eth0/ })
    expect(errorOf(await call('CHECK', { prevResult: otherAddress })).code).toBe(102)
    const elsewhere = errorOf(await call('CHECK', { prevResult: result }, { CNI_NETNS: other.path }))
    expect(elsewhere).toMatchObject({ code: 102, msg: expect.stringContaining(other.path) })
    expect(await call('DEL')).toEqual(silent)
  })

  // biome-ignore format: a table
  test.each([
    ['a default route of its own', 'ip link add d0 type bridge && ip addr add 192.0.2.1/24 dev d0 && ip link set d0 up && ip route replace default via 192.0.2.9', () => {}],
    ['its default route in another table', 'ip route add default via 10.244.1.1 dev eth0 table 100 && ip route del default', () => {}],
    ['no default route, and says so', 'ip route del default && ip -6 route del default && ip route del 10.244.1.1', (result: { routes: unknown[] }) => void result.routes.splice(0)],
    ['one address less, and says so', 'ip addr del fd00:10:244:1::46/128 dev eth0', (result: { ips: unknown[] }) => void result.ips.pop()],
    ['another MTU and more addresses', 'ip link set eth0 mtu 1300 && ip addr add 192.0.2.3/32 dev eth0', (result: { ips: unknown[] }) => void result.ips.push({ address: '192.0.2.3/32', interface: 0 })],
  ])('tolerates a later plugin that left %s', async (_, change, tell) => {
    const result = resultOf(await call('ADD', wish({ ips: ['10.244.1.70'] })))
    await pod.run('sh', '-c', change)
    tell(result)
    const checked = await call('CHECK', { prevResult: result })
    await pod.attempt('ip', 'link', 'del', 'd0')
    expect(await call('DEL')).toEqual(silent)
    expect(checked).toEqual(silent)
  })
})

describe('GC', () => {
  const addTo = (name: string, id: string, ifName: string) =>
    call('ADD', { name }, { CNI_CONTAINERID: id, CNI_IFNAME: ifName })
  const gc = (list: unknown, name = 'polder') => call('GC', { name, 'cni.dev/valid-attachments': list, bridge: 'cni0' })
  const names = async () => (await attached()).map(({ containerId, ifName }) => `${containerId}@${ifName}`).sort()

  test('removes what is not listed, of its own network only; without a list, nothing', async () => {
    for (const ifName of ['eth0', 'eth1', 'eth2']) resultOf(await addTo('polder', 'c1', ifName))
    resultOf(await addTo('polder', 'c2', 'eth3'))
    resultOf(await addTo('other', 'c3', 'eth4'))
    for (const none of [undefined, null]) expect(await gc(none)).toEqual(silent)
    expect(await call('GC', { 'cni.dev/attachments': [] })).toEqual(silent)
    expect(await names()).toHaveLength(5)
    const valid = [
      { containerID: 'c1', ifname: 'eth1' },
      { containerID: 'c2', ifname: 'eth0' },
      { containerID: 'c9', ifname: 'x' },
    ]
    expect(await gc(valid)).toEqual(silent)
    expect(await names()).toEqual(['c1@eth1', 'c3@eth4'])
    expect(await pod.run('ip', '-br', 'link')).not.toMatch(/eth0|eth2|eth3/)
    expect(await gc([])).toEqual(silent)
    expect(await names()).toEqual(['c3@eth4'])
    expect(await gc([], 'other')).toEqual(silent)
    await expectNothingLeft()
  })
})
