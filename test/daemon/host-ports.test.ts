/** Whose host port it is: what two mappings have in common, who is named when one is taken, and what the path works by. */
import { describe, expect, test } from 'vitest'
import { hostPortFrontends, redirectsOf } from '../../daemon/host-ports/frontends.ts'
import { HostPorts } from '../../daemon/host-ports/host-ports.ts'
import { parseSockets } from '../../daemon/host-ports/listeners.ts'
import {
  canonicalHostIP,
  hostIPMistake,
  nameOfPort,
  overlaps,
  type PortMapping,
} from '../../daemon/host-ports/port-mapping.ts'

const ADDRESSES = ['10.244.1.5', 'fd00:10:244:1::5']
const HERE = {
  nodeName: 'node1',
  addresses: ['192.0.2.1', '2001:db8::1', '10.244.1.1', 'fd00:10:244:1::1'],
  virtualAddresses: ['10.244.1.0', 'fd00:10:244:1::'],
  nodeAddresses: ['192.0.2.1'],
  zones: new Map(),
}

/** `8080/TCP>80`, `192.0.2.7:53/UDP`, `[::]:80/TCP` */
function mapping(text: string): PortMapping {
  const [, v6, v4, hostPort, protocol, containerPort = hostPort] =
    /^(?:\[(.+)\]:|([\d.]+):)?(\d+)\/(\w+)(?:>(\d+))?$/.exec(text)!
  const hostIP = v6 ?? v4
  const common = { protocol: protocol as 'TCP', hostPort: Number(hostPort), containerPort: Number(containerPort) }
  return hostIP === undefined ? common : { ...common, hostIP }
}

const pod = (name: string, addresses = ADDRESSES) => ({
  containerId: `id-${name}`,
  ifName: 'eth0',
  pod: { namespace: 'default', name },
  addresses,
})

const alone = () => new HostPorts({ nodePortOwner: () => undefined, listeners: () => [] })

test.each([
  ['80/TCP', '80/TCP', true],
  ['80/TCP', '80/UDP', false],
  ['80/TCP', '81/TCP', false],
  ['80/TCP', '192.0.2.1:80/TCP', true],
  ['80/TCP', '[2001:db8::1]:80/TCP', true],
  ['192.0.2.1:80/TCP', '192.0.2.1:80/TCP', true],
  ['192.0.2.1:80/TCP', '192.0.2.2:80/TCP', false],
  ['192.0.2.1:80/TCP', '0.0.0.0:80/TCP', true],
  ['192.0.2.1:80/TCP', '[::]:80/TCP', false],
  ['0.0.0.0:80/TCP', '[::]:80/TCP', false],
  ['[2001:db8::1]:80/TCP', '[::]:80/TCP', true],
])('%s and %s get in each other’s way: %s', (one, other, expected) => {
  expect(overlaps(mapping(one), mapping(other))).toBe(expected)
  expect(overlaps(mapping(other), mapping(one))).toBe(expected)
})

test.each([
  ['192.0.2.1', undefined],
  ['127.0.0.1', undefined],
  ['::', undefined],
  ['2001:db8::1', undefined],
  ['::1', /127\.0\.0\.1/],
  ['fe80::1', /link-local/],
  ['fe80::1%eth0', /IP address/],
  ['224.0.0.1', /multicast/],
  ['255.255.255.255', /broadcast/],
  ['somewhere', /IP address/],
])('a hostIP of %s', (hostIP, mistake) => {
  if (mistake === undefined) expect(hostIPMistake(hostIP)).toBeUndefined()
  else expect(hostIPMistake(hostIP)).toMatch(mistake)
})

test('addresses are written in one way', () => {
  expect(canonicalHostIP('2001:DB8:0::1')).toBe('2001:db8::1')
  expect(canonicalHostIP('::ffff:192.0.2.1')).toBe('192.0.2.1')
  expect([canonicalHostIP(''), canonicalHostIP(null)]).toEqual([undefined, undefined])
  expect(nameOfPort(mapping('[2001:db8::1]:80/TCP'))).toBe('[2001:db8::1]:80/TCP')
})

describe('a port that is taken', () => {
  test('by another pod names it, and nothing of the request is reserved', () => {
    const hostPorts = alone()
    hostPorts.reserve(pod('web'), [mapping('80/TCP')])
    const wanted = [mapping('81/TCP'), mapping('192.0.2.1:80/TCP')]
    expect(() => hostPorts.reserve(pod('other'), wanted)).toThrow(
      'host port 192.0.2.1:80/TCP is taken: pod default/web has 80/TCP',
    )
    expect(hostPorts.list().map(({ pod }) => pod?.name)).toEqual(['web'])
    expect(hostPorts.reserve(pod('third'), [mapping('81/TCP')])).toHaveLength(1)
  })

  test('is free again once its pod is gone', () => {
    const hostPorts = alone()
    hostPorts.reserve(pod('web'), [mapping('80/TCP')])
    expect(hostPorts.release(pod('web'))).toBe(true)
    expect(hostPorts.release(pod('web'))).toBe(false)
    expect(hostPorts.reserve(pod('other'), [mapping('80/TCP')])).toHaveLength(1)
  })

  test('by a Service, or twice by the same pod', () => {
    const hostPorts = new HostPorts({
      nodePortOwner: ({ hostPort }) => (hostPort === 30_080 ? 'Service default/backend' : undefined),
      listeners: () => [],
    })
    expect(() => hostPorts.reserve(pod('a'), [mapping('30080/TCP')])).toThrow(
      'it is the node port of Service default/backend',
    )
    expect(() => hostPorts.reserve(pod('a'), [mapping('80/TCP>1'), mapping('80/TCP>2')])).toThrow('twice')
  })

  test.each([
    ['0.0.0.0', '80/TCP', true],
    ['0.0.0.0', '192.0.2.1:80/TCP', true],
    ['0.0.0.0', '[::]:80/TCP', false],
    ['::', '0.0.0.0:80/TCP', true],
    ['127.0.0.53', '80/TCP', true],
    ['127.0.0.53', '192.0.2.1:80/TCP', false],
    ['192.0.2.1', '192.0.2.1:80/TCP', true],
    ['192.0.2.1', '192.0.2.2:80/TCP', false],
    ['::1', '80/TCP', false],
    ['2001:db8::1', '80/TCP', true],
  ])('by a process that listens at %s, for %s: %s', (address, wanted, expected) => {
    const hostPorts = new HostPorts({
      nodePortOwner: () => undefined,
      listeners: () => [{ address, port: 80, inode: 'none' }],
    })
    const reserve = () => hostPorts.reserve(pod('a'), [mapping(wanted)])
    if (expected) expect(reserve).toThrow(/taken: a process of the host listens at/)
    else expect(reserve()).toHaveLength(1)
  })

  test('is refused to a pod without an address of that family', () => {
    const reserve = () => alone().reserve(pod('a', ['10.244.1.5']), [mapping('[::]:80/TCP')])
    expect(reserve).toThrow('host port [::]:80/TCP cannot lead to the pod, which has no IPv6 address')
  })
})

test('each has a port of the virtual address of its own, never one of the node ports', () => {
  const hostPorts = alone()
  const virtual = (name: string, ...wanted: string[]) =>
    hostPorts.reserve(pod(name), wanted.map(mapping)).map(({ virtualPort }) => virtualPort)
  expect(virtual('a', '192.0.2.1:80/TCP', '192.0.2.2:80/TCP', '192.0.2.2:80/UDP')).toEqual([80, 1024, 80])
  expect(virtual('b', '30080/TCP', '1024/TCP')).toEqual([1025, 1026])
  expect(virtual('c', '192.0.2.3:80/TCP', '8080/TCP')).toEqual([1027, 8080])
})

test('what the data path and the host work by', () => {
  const hostPorts = alone()
  hostPorts.reserve(pod('web'), [mapping('8080/TCP>80'), mapping('192.0.2.1:53/UDP')])
  expect(redirectsOf(hostPorts.list(), HERE)).toEqual([
    {
      family: 'IPv4',
      protocol: 'TCP',
      address: undefined,
      port: 8080,
      virtualAddress: '10.244.1.0',
      virtualPort: 8080,
    },
    {
      family: 'IPv6',
      protocol: 'TCP',
      address: undefined,
      port: 8080,
      virtualAddress: 'fd00:10:244:1::',
      virtualPort: 8080,
    },
    { family: 'IPv4', protocol: 'UDP', address: '192.0.2.1', port: 53, virtualAddress: '10.244.1.0', virtualPort: 53 },
  ])
  const [v4, v6, udp] = hostPortFrontends(hostPorts.list(), HERE)
  expect(v4!.frontends.map(({ address, port }) => `${address} ${port}`)).toEqual([
    '10.244.1.0 8080',
    '192.0.2.1 8080',
    '10.244.1.1 8080',
  ])
  expect(v4!.endpoints.map(({ address, port }) => [address, port])).toEqual([['10.244.1.5', 80]])
  expect(v6!.endpoints.map(({ address }) => address)).toEqual(['fd00:10:244:1::5'])
  expect(udp!.frontends.map(({ address }) => address)).toEqual(['10.244.1.0', '192.0.2.1'])
  const identities = [v4, v6, udp].flatMap((port) => [port!.identity, port!.endpoints[0]!.identity])
  expect(new Set(identities).size).toBe(6)
  const again = hostPortFrontends(hostPorts.list(), HERE).flatMap((port) => [
    port.identity,
    port.endpoints[0]!.identity,
  ])
  expect(again).toEqual(identities)
})

test('listening sockets are read from what the kernel prints', () => {
  const lines = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 123 1 0 100 0 0 10 0',
    '   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 124 1 0 100 0 0 10 0',
    '   2: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 125 1',
  ]
  expect(parseSockets(lines.join('\n'), '0A')).toEqual([
    { address: '127.0.0.1', port: 8080, inode: '123' },
    { address: '2001:db8::1', port: 80, inode: '125' },
  ])
})
