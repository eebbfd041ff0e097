/**
 * Configuration: precedence of the four sources, names that follow from the table, every mistake named with its place.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { addressesOf, poolHolds, poolMistake, poolOf, poolsOverlap } from '../../daemon/config/address-pool.ts'
import { cidrMistake, contains, formatCidr, overlap, parseCidr, subnet } from '../../daemon/config/cidr.ts'
import { helpText, informationFor } from '../../daemon/config/help.ts'
import { loadConfig } from '../../daemon/config/load.ts'
import { nearest } from '../../daemon/config/nearest.ts'
import { flagOf, SETTING_KEYS, variableOf } from '../../daemon/config/settings.ts'
import type { PolderError } from '../../daemon/errors.ts'

const scratch = mkdtempSync(join(tmpdir(), 'polder-config-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const absent = join(scratch, 'absent.yaml')
/** The default file's place, so that the machine's own configuration plays no part. A name makes later tests readable. */
const named = { POLDER_NODE_NAME: 'alpha' }

function fileOf(text: string): string {
  const path = join(scratch, 'polder.yaml')
  writeFileSync(path, text)
  return path
}

function mistakes(argv: string[], env: Record<string, string> = {}, file = absent): string[] {
  try {
    loadConfig(argv, { ...named, ...env }, file)
  } catch (error) {
    expect((error as PolderError).code).toBe('bad-config')
    expect((error as PolderError).remedy).toContain('--help')
    const lines = (error as Error).message.split('\n')
    const listed = lines.length > 1 ? lines.slice(1).map((line) => line.trim()) : [lines[0]!.split('wrong: ')[1]!]
    return listed.map((line) => line.replaceAll(scratch, ''))
  }
  return []
}

describe('sources', () => {
  test('without any, every setting has its default', () => {
    const { config, file } = loadConfig([], named, absent)
    expect(file).toBeUndefined()
    expect(config).toMatchObject({
      nodeName: 'alpha',
      podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
      services: 'on',
      serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
      nodeMaskSizeIPv4: 24,
      nodeMaskSizeIPv6: 64,
      clusterFolder: '/var/lib/polder/cluster',
      underlayInterface: '',
      underlayAddress: '',
      vxlanPort: 4789,
      vxlanVni: 1,
      runner: true,
      containerdSocket: '/run/containerd/containerd.sock',
      cniConfDir: '/etc/cni/net.d',
      cniBinDir: '/opt/cni/bin',
      socket: '/run/polder/polderd.sock',
      stateDir: '/var/lib/polder',
      logLevel: 'info',
    })
  })

  test('flag before environment before file before default', () => {
    const file = fileOf('vxlanPort: 1\nvxlanVni: 1\nlogLevel: debug\n')
    const env = { ...named, POLDER_VXLAN_PORT: '2', POLDER_VXLAN_VNI: '2' }
    const { config, places } = loadConfig(['--vxlan-port', '3'], env, file)
    expect([config.vxlanPort, config.vxlanVni, config.logLevel, config.runner]).toEqual([3, 2, 'debug', true])
    expect(places.vxlanPort).toBe('flag --vxlan-port')
    expect(places.vxlanVni).toBe('environment POLDER_VXLAN_VNI')
    expect(places.logLevel).toBe(`${file}:3:11 logLevel`)
    expect(places.runner).toBe('default runner')
  })

  test('a file named by flag, by environment', () => {
    const file = fileOf('vxlanPort: 8472\n')
    expect(loadConfig(['--config', file], named, absent).config.vxlanPort).toBe(8472)
    expect(loadConfig([`--config=${file}`], named, absent).file).toBe(file)
    expect(loadConfig([], { ...named, POLDER_CONFIG: file }, absent).config.vxlanPort).toBe(8472)
  })

  test('an empty file, and settings left empty, mean the defaults', () => {
    expect(loadConfig([], named, fileOf('')).config.vxlanPort).toBe(4789)
    expect(loadConfig([], named, fileOf('# nothing\n')).config.vxlanPort).toBe(4789)
    expect(loadConfig([], named, fileOf('vxlanPort:\n')).config.vxlanPort).toBe(4789)
  })

  test('lists and switches as flags and in the environment', () => {
    const config = (argv: string[], env = {}) => loadConfig(argv, { ...named, ...env }, absent).config
    expect(config(['--pod-cidrs', '10.1.0.0/16, FD00:0:0::/48']).podCIDRs).toEqual(['10.1.0.0/16', 'fd00::/48'])
    expect(config(['--no-runner']).runner).toBe(false)
    expect(config(['--runner=false']).runner).toBe(false)
    expect(config(['--runner', 'false', '--vxlan-vni=7']).vxlanVni).toBe(7)
    expect(config(['--runner', '--vxlan-vni=7']).runner).toBe(true)
    expect(config([], { POLDER_RUNNER: 'false' }).runner).toBe(false)
  })

  test("Kubernetes' variables for a Service called polder are no mistake", () => {
    const env = { POLDER_SERVICE_HOST: '10.96.0.7', POLDER_SERVICE_PORT: '80', POLDER_PORT_80_TCP_ADDR: '10.96.0.7' }
    expect(mistakes([], env)).toEqual([])
  })
})

describe('mistakes', () => {
  test.each([
    [['--vxlan-port', '70000'], 'flag --vxlan-port: 70000 must be a whole number from 1 to 65535'],
    [['--vxlan-port', 'x'], 'flag --vxlan-port: "x" must be a whole number from 1 to 65535'],
    [['--vxlan-vni=16777216'], 'flag --vxlan-vni: 16777216 must be a whole number from 1 to 16777215'],
    [['--vxln-port', '4789'], 'flag --vxln-port: is not known; did you mean --vxlan-port?'],
    [['--no-socket'], 'flag --no-socket: is not known; did you mean --socket?'],
    [['--socket'], 'flag --socket: needs a value'],
    [['--socket', 'run/polderd.sock'], 'flag --socket: "run/polderd.sock" must be an absolute path'],
    [['--no-runner=yes'], 'flag --no-runner: takes no value'],
    [['--runner', 'maybe'], 'flag --runner: "maybe" must be true or false'],
    [['-v'], 'flag -v: is not known'],
    [['up'], 'argument up: is not allowed; there are flags only'],
    [['--config', '/absent.yaml'], '/absent.yaml: does not exist'],
    [['--config', '/dev/zero'], '/dev/zero: must be a file of at most 1048576 bytes'],
    [['--underlay-address', '10.0.0.300'], 'flag --underlay-address: "10.0.0.300" must be an IP address, or empty'],
    [
      ['--pod-cidrs', '10.244.1.0/16'],
      'flag --pod-cidrs: "10.244.1.0/16" must have no host bits: the network is 10.244.0.0/16',
    ],
    [['--pod-cidrs', '10.244.0.0/33'], 'flag --pod-cidrs: "10.244.0.0/33" must have a prefix length of at most 32'],
    [
      ['--pod-cidrs', '10.1.0.0/16,10.2.0.0/16'],
      'flag --pod-cidrs: ["10.1.0.0/16","10.2.0.0/16"] must hold at most one network for each address family',
    ],
    [
      ['--node-mask-size-ipv4', '16'],
      'flag --node-mask-size-ipv4: 16 must be longer than the prefix of 10.244.0.0/16 (default podCIDRs)',
    ],
    [['--node-mask-size-ipv6', '127'], 'flag --node-mask-size-ipv6: 127 must be a whole number from 1 to 126'],
    [
      ['--load-balancer-pools', '192.0.2.0/28,192.0.2.8-192.0.2.20'],
      'flag --load-balancer-pools: 192.0.2.8-192.0.2.20 overlaps with 192.0.2.0/28 (flag --load-balancer-pools)',
    ],
    [
      ['--load-balancer-pools', '10.244.9.0/28'],
      'flag --load-balancer-pools: 10.244.9.0/28 overlaps with 10.244.0.0/16 (default podCIDRs)',
    ],
    [
      ['--load-balancer-pools', '10.96.1.1-10.96.1.2'],
      'flag --load-balancer-pools: 10.96.1.1-10.96.1.2 overlaps with 10.96.0.0/16 (default serviceCIDRs)',
    ],
    [
      ['--load-balancer-pools', '192.0.2.9-192.0.2.1'],
      'flag --load-balancer-pools: "192.0.2.9-192.0.2.1" must begin with the lower address',
    ],
    [['--log-level', 'loud'], 'flag --log-level: "loud" must be one of trace, debug, info, warn, error, fatal'],
  ])('%j', (argv, expected) => {
    expect(mistakes(argv)).toEqual([expected])
  })

  test('in the environment', () => {
    expect(mistakes([], { POLDER_RUNNER: 'maybe' })).toEqual([
      'environment POLDER_RUNNER: "maybe" must be true or false',
    ])
    expect(mistakes([], { POLDER_LOGLEVEL: 'info' })).toEqual([
      'environment POLDER_LOGLEVEL: is not known; did you mean POLDER_LOG_LEVEL?',
    ])
    expect(mistakes([], { POLDER_NODE_NAME: 'My_Host' })[0]).toMatch(
      /^environment POLDER_NODE_NAME: "My_Host" must be lower-case/,
    )
  })

  test('in the file, all of them at once, each with line and column', () => {
    const file = fileOf(
      'vxlanPort: 70000\nlogLevl: debug\npodCIDRs:\n  - 10.244.0.0/16\n  - fd00::1/48\nrunner: "yes"\n',
    )
    expect(mistakes([], {}, file)).toEqual([
      '/polder.yaml:2:1 logLevl: is not known; did you mean logLevel?',
      '/polder.yaml:5:5 podCIDRs[1]: "fd00::1/48" must have no host bits: the network is fd00::/48',
      '/polder.yaml:1:12 vxlanPort: 70000 must be a whole number from 1 to 65535',
      '/polder.yaml:6:9 runner: "yes" must be true or false',
    ])
  })

  test('a value is checked also where a stronger source overrides it', () => {
    expect(mistakes(['--vxlan-port', '1'], { POLDER_VXLAN_PORT: '0' })).toHaveLength(1)
  })

  test('a file that is no YAML, or no settings', () => {
    expect(mistakes([], {}, fileOf('vxlanPort: [1\n'))[0]).toMatch(/^\/polder\.yaml:\d+:\d+: /)
    expect(mistakes([], {}, fileOf('- vxlanPort\n'))).toEqual([
      '/polder.yaml:1:1: must be settings, one `name: value` a line',
    ])
    expect(mistakes([], {}, fileOf('a: 1\n---\nb: 2\n'))[0]).toContain('2 YAML documents')
    expect(mistakes([], {}, scratch)[0]).toContain('must be a file of at most 1048576 bytes')
  })
})

describe('help', () => {
  test('names every setting as flag, variable and key', () => {
    for (const key of SETTING_KEYS) {
      expect(helpText()).toContain(`  ${flagOf(key)} `)
      expect(helpText()).toContain(`${variableOf(key)} [${key}]`)
    }
  })

  test('is printed when asked for, as is the version', () => {
    expect(informationFor(['--vxlan-port', '1', '--help'], '1.2.3')).toBe(helpText())
    expect(informationFor(['--version'], '1.2.3')).toBe('polderd 1.2.3')
    expect(informationFor(['--no-runner'], '1.2.3')).toBeUndefined()
  })

  test.each([
    ['podCIDRs', '--pod-cidrs', 'POLDER_POD_CIDRS'],
    ['nodeMaskSizeIPv4', '--node-mask-size-ipv4', 'POLDER_NODE_MASK_SIZE_IPV4'],
    ['cniBinDir', '--cni-bin-dir', 'POLDER_CNI_BIN_DIR'],
  ])('%s', (key, flag, variable) => {
    expect([flagOf(key), variableOf(key)]).toEqual([flag, variable])
  })
})

describe('networks', () => {
  test.each([
    '',
    '10.244.0.0',
    '10.244.0.0/',
    '10.244.0/16',
    '10.244.0.0/016',
    '10.244.0.0/16/1',
    '010.0.0.0/8',
    'fe80::%1/64',
    '::/129',
  ])('%j is none', (text) => expect(cidrMistake(text)).toBeDefined())

  test.each(['0.0.0.0/0', '10.244.0.0/16', '10.0.0.1/32', '::/0', 'fd00:10:244::/48', '::ffff:0:0/96', '::1/128'])(
    '%s is one',
    (text) => {
      expect(cidrMistake(text)).toBeUndefined()
      expect(parseCidr(formatCidr(parseCidr(text)))).toEqual(parseCidr(text))
    },
  )

  test('the subnets of a network lie in it, side by side', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 255 }), (one, other) => {
        const pool = parseCidr('10.244.0.0/16')
        const [first, second] = [subnet(pool, 24, one), subnet(pool, 24, other)]
        expect(formatCidr(first)).toBe(`10.244.${one}.0/24`)
        expect(contains(pool, first)).toBe(true)
        expect(overlap(first, second)).toBe(one === other)
      }),
    )
  })
})

describe('pools', () => {
  test('are networks or pairs of addresses, of hosts', () => {
    for (const good of ['192.0.2.16/28', '192.0.2.16-192.0.2.31', '2001:db8::/64', '2001:db8::1 - 2001:db8::9']) {
      expect([good, poolMistake(good)]).toEqual([good, undefined])
    }
    for (const bad of [
      '',
      '192.0.2.1',
      '192.0.2.1-',
      '192.0.2.1-2001:db8::1',
      'a-b',
      '192.0.2.1/24',
      '1.2.3.4-1.2.3.5-1.2.3.6',
    ])
      expect([bad, poolMistake(bad)]).toEqual([bad, expect.stringContaining('must')])
    for (const never of ['127.0.0.0/8', '224.0.0.1-224.0.0.2', 'fe80::/64', 'ff02::/16', '0.0.0.0/0']) {
      expect(poolMistake(never)).toContain('addresses of hosts only')
    }
  })

  test('hold what lies in them, in order', () => {
    const pool = poolOf('192.0.2.254-192.0.3.1')
    expect([...addressesOf(pool, 10)]).toEqual(['192.0.2.254', '192.0.2.255', '192.0.3.0', '192.0.3.1'])
    expect([...addressesOf(poolOf('2001:db8::/64'), 2)]).toEqual(['2001:db8::', '2001:db8::1'])
    expect(['192.0.2.253', '192.0.3.1', '2001:db8::1'].map((address) => poolHolds(pool, address))).toEqual([
      false,
      true,
      false,
    ])
    expect(poolsOverlap(pool, poolOf('192.0.3.0/24'))).toBe(true)
    expect(poolsOverlap(pool, poolOf('::/0'))).toBe(false)
  })
})

test.each([
  ['hostNetwrok', 'hostNetwork'],
  ['imag', 'image'],
  ['Image', 'image'],
  ['volumes', undefined],
  ['', undefined],
])('nearest to %j is %j', (name, expected) => {
  expect(nearest(name, ['hostNetwork', 'image', 'containers'])).toBe(expected)
})
