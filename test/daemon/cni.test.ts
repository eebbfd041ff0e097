/** What of CNI is decided before an attachment is touched; the rest runs in test/netns/cni.test.ts. */
import pino from 'pino'
import { describe, expect, test } from 'vitest'
import type { Attachments } from '../../daemon/attachments/attachment.ts'
import { createCni } from '../../daemon/cni/cni.ts'
import { CniEnvironment } from '../../daemon/cni/environment.ts'
import { validateConfig } from '../../daemon/cni/network-config.ts'
import { encodeResult } from '../../daemon/cni/result.ts'
import { Spool } from '../../daemon/cni/spool.ts'
import { versionNamed } from '../../daemon/cni/versions.ts'

const log = pino({ level: 'silent' })

/** Every call is wrong: what these tests send must be refused before. */
const unreachable = new Proxy({} as Attachments, {
  get: (_, name) => () => {
    throw new Error(`attachments.${String(name)} was reached`)
  },
})
const spool = new Spool({ folder: '/nonexistent', attachments: unreachable, log })
const cni = createCni({ attachments: unreachable, spool, addressesLeft: () => 0, statusFailsWhenFull: true, log })

const CONFIG = { cniVersion: '1.0.0', name: 'polder', type: 'polder-cni' }
const HEADERS = {
  'cni-command': 'ADD',
  'cni-containerid': 'c1',
  'cni-netns': '/run/netns/none',
  'cni-ifname': 'eth0',
  'cni-args': '',
}

async function refusal(headers: object, config: object | string) {
  const body = typeof config === 'string' ? config : JSON.stringify({ ...CONFIG, ...config })
  const answer = await cni({ ...HEADERS, ...headers }, body)
  expect(answer.ok).toBe(false)
  return JSON.parse(answer.body) as { cniVersion: string; code: number; msg: string; details: string }
}

const wish = (mapping: object) => ({ runtimeConfig: { portMappings: [mapping] } })

describe('is refused', () => {
  test.each([
    ['no version', {}, { cniVersion: undefined }, 1, /0\.1\.0/],
    ['an old version', {}, { cniVersion: '0.3.0' }, 1, /0\.3\.0/],
    ['a future version', {}, { cniVersion: '9.0.0' }, 1, /9\.0\.0/],
    ['a version that is no text', {}, { cniVersion: 1 }, 6, /no version: 1/],
    ['CHECK before 0.4.0', { 'cni-command': 'CHECK' }, { cniVersion: '0.3.1' }, 1, /0\.3\.1 has no CHECK/],
    ['GC before 1.1.0', { 'cni-command': 'GC' }, {}, 1, /1\.0\.0 has no GC/],
    ['STATUS before 1.1.0', { 'cni-command': 'STATUS' }, {}, 1, /1\.0\.0 has no STATUS/],
    ['a field polder has not', {}, { bridge: 'cni0' }, 2, /bridge = "cni0"/],
    ['an IPAM plugin', {}, { ipam: { type: 'host-local' } }, 2, /ipam = \{"type":"host-local"\}/],
    ['a port of no container', {}, wish({ hostPort: 80 }), 7, /portMappings\.0\.containerPort/],
    [
      'a port as containerd 1.6 writes it',
      {},
      wish({ HostPort: 80, ContainerPort: 0 }),
      7,
      /containerPort: must be a port/,
    ],
    ['a host port too high', {}, wish({ hostPort: 65_536, containerPort: 80 }), 7, /hostPort: must be a port/],
    [
      'a protocol',
      {},
      wish({ hostPort: 80, containerPort: 80, protocol: 'icmp' }),
      7,
      /protocol: must be tcp, udp or sctp/,
    ],
    ['a hostIP', {}, wish({ hostPort: 80, containerPort: 80, hostIP: '::1' }), 7, /hostIP: cannot be ::1/],
    ['a name as long as a line', {}, { bridge: 'x'.repeat(10_000) }, 2, /^.{1,150}$/],
    ['a MAC address', {}, { runtimeConfig: { mac: '02:00:00:00:00:01' } }, 2, /runtimeConfig\.mac = "02/],
    ['no command', { 'cni-command': '' }, {}, 4, /CNI_COMMAND is missing/],
    ['another command', { 'cni-command': 'PING' }, {}, 4, /CNI_COMMAND 'PING'/],
    [
      'nothing but the command',
      { 'cni-containerid': '', 'cni-netns': '', 'cni-ifname': '' },
      {},
      4,
      /CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME are missing/,
    ],
    ['DEL of nothing', { 'cni-command': 'DEL', 'cni-containerid': '' }, {}, 4, /CNI_CONTAINERID is missing/],
    ['a container id out of its folder', { 'cni-containerid': '../c1' }, {}, 4, /CNI_CONTAINERID/],
    ['a container id of 201 letters', { 'cni-containerid': 'c'.repeat(201) }, {}, 4, /CNI_CONTAINERID/],
    ['an interface name of 16 letters', { 'cni-ifname': 'e'.repeat(16) }, {}, 4, /CNI_IFNAME/],
    ['an interface name with a slash', { 'cni-ifname': 'a/b' }, {}, 4, /CNI_IFNAME/],
    ['an interface name with a space', { 'cni-ifname': 'a b' }, {}, 4, /CNI_IFNAME/],
    ['the folder itself as interface name', { 'cni-ifname': '..' }, {}, 4, /CNI_IFNAME/],
    ['the loopback', { 'cni-ifname': 'lo' }, {}, 4, /CNI_IFNAME/],
    ['args that are no pairs', { 'cni-args': 'K8S_POD_NAME' }, {}, 4, /CNI_ARGS has 'K8S_POD_NAME'/],
    ['args that polder has not', { 'cni-args': 'COLOUR=red' }, {}, 4, /CNI_ARGS.*COLOUR/],
    ['no configuration', {}, '', 6, /empty/],
    ['half a configuration', {}, '{"cniVersion":', 6, /not JSON/],
    ['a list', {}, '[]', 6, /no JSON object/],
    ['no name', {}, { name: undefined }, 7, /name/],
    ['a name out of its folder', {}, { name: '../x' }, 7, /name: must be/],
    ['DNS of the wrong shape', {}, { dns: { nameservers: '10.96.0.10' } }, 7, /dns\.nameservers/],
    ['CHECK without prevResult', { 'cni-command': 'CHECK' }, {}, 7, /prevResult/],
  ])('%s', async (_, headers, config, code, message) => {
    const error = await refusal(headers, config)
    expect(error.msg).toMatch(message)
    expect(error.code).toBe(code)
    expect(error.details).not.toBe('')
  })

  test('in the version asked for, or the newest where that is unknown', async () => {
    expect((await refusal({}, { cniVersion: '0.4.0', bridge: 'x' })).cniVersion).toBe('0.4.0')
    expect((await refusal({}, { cniVersion: '9.0.0' })).cniVersion).toBe('1.1.0')
  })
})

test('what asks for nothing is no reason to refuse', () => {
  const config = { ...CONFIG, ipam: {}, ipMasq: true, runtimeConfig: { portMappings: [], bandwidth: null } }
  expect(validateConfig({ ...config, args: { any: 1 }, socket: '/x', 'cni.dev/attachments': [1] })).toBeDefined()
})

test.each<[string, object[], object[]]>([
  ['as podman writes them', [{ hostPort: 80, containerPort: 8080, protocol: 'udp' }], [[80, 8080, 'UDP', undefined]]],
  [
    'as containerd 1.6 writes them',
    [{ HostPort: 80, ContainerPort: 8080, Protocol: 'tcp', HostIP: '' }],
    [[80, 8080, 'TCP', undefined]],
  ],
  ['at an address', [{ hostPort: 80, containerPort: 80, hostIP: '2001:DB8::0:1' }], [[80, 80, 'TCP', '2001:db8::1']]],
  [
    'that are none',
    [{ hostPort: 0, containerPort: 80 }, { containerPort: 81 }, { hostPort: -1, containerPort: 82 }],
    [],
  ],
  [
    'that are the same',
    [
      { hostPort: 80, containerPort: 80 },
      { hostPort: 80, containerPort: 80, protocol: 'TCP' },
    ],
    [[80, 80, 'TCP', undefined]],
  ],
])('host ports %s', (_, portMappings, expected) => {
  const { hostPorts } = validateConfig({ ...CONFIG, runtimeConfig: { portMappings } }).wishes
  expect(hostPorts.map((one) => [one.hostPort, one.containerPort, one.protocol, one.hostIP])).toEqual(expected)
})

test.each([
  ['', '1.1.0'],
  ['{"cniVersion":"0.4.0"}', '0.4.0'],
  ['{"cniVersion":"9.9.9"}', '9.9.9'],
])('VERSION with %j answers in %s', async (body, version) => {
  const answer = await cni({ 'cni-command': 'VERSION' }, body)
  expect(answer.ok).toBe(true)
  expect(JSON.parse(answer.body)).toEqual({
    cniVersion: version,
    supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  })
})

test.each([
  ['', undefined],
  [
    'K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAME=web;X=1;K8S_POD_NAMESPACE=ns',
    { namespace: 'ns', name: 'web', uid: 'u' },
  ],
  ['K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c;', { namespace: 'ns', name: 'web' }],
  ['IgnoreUnknown=true;Y', 4],
  ['K8S_POD_NAME=web', undefined],
  ['K8S_POD_NAMESPACE=ns;K8S_POD_NAME=m\u00c3\u00bcll', { namespace: 'ns', name: 'müll' }],
])('CNI_ARGS %j', (args, expected) => {
  const environment = new CniEnvironment({ 'cni-args': args })
  if (expected === 4) expect(() => environment.pod).toThrow('no KEY=VALUE')
  else expect(environment.pod).toEqual(expected)
})

describe('result', () => {
  const attachment = {
    containerId: 'c1',
    ifName: 'eth0',
    netns: '/run/netns/a',
    addresses: ['10.244.1.5', 'fd00:10:244:1::5'],
    network: 'polder',
    createdAt: '2026-01-01T00:00:00.000Z',
    bootId: 'b',
  }
  const node = { gateways: ['10.244.1.1', 'fd00:10:244:1::1'], mtuBytes: 1450 }
  const encode = (version: string, extra = {}) =>
    JSON.parse(encodeResult(versionNamed(version)!, validateConfig({ ...CONFIG, ...extra }), attachment, node))

  test('1.0.0', () => {
    expect(encode('1.0.0', { dns: { nameservers: ['10.96.0.10'] } })).toEqual({
      cniVersion: '1.0.0',
      interfaces: [{ name: 'eth0', mac: '00:00:00:00:00:00', sandbox: '/run/netns/a' }],
      ips: [
        { interface: 0, address: '10.244.1.5/32', gateway: '10.244.1.1' },
        { interface: 0, address: 'fd00:10:244:1::5/128', gateway: 'fd00:10:244:1::1' },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.244.1.1' },
        { dst: '::/0', gw: 'fd00:10:244:1::1' },
      ],
      dns: { nameservers: ['10.96.0.10'] },
    })
  })

  test.each(['0.3.1', '0.4.0'])('%s names the family of each address', (version) => {
    const result = encode(version)
    expect(result.cniVersion).toBe(version)
    expect(result.ips.map((ip: { version: string }) => ip.version)).toEqual(['4', '6'])
  })

  test('of a chain keeps what was there, and counts interfaces on', () => {
    const prevResult = {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'dummy0', mac: '02:00:00:00:00:01', sandbox: '/run/netns/a' }],
      ips: [{ interface: 0, address: '192.0.2.7/24' }],
      routes: [{ dst: '192.0.2.0/24' }],
      dns: { domain: 'example' },
    }
    const result = encode('1.0.0', { prevResult })
    const own = { name: 'eth0', mac: '00:00:00:00:00:00', sandbox: '/run/netns/a' }
    expect(result.interfaces).toEqual([...prevResult.interfaces, own])
    expect(result.ips[0]).toEqual(prevResult.ips[0])
    expect(result.ips[1]).toMatchObject({ interface: 1, address: '10.244.1.5/32' })
    expect(result.routes[0]).toEqual({ dst: '192.0.2.0/24' })
    expect(result.dns).toEqual({ domain: 'example' })
  })
})
