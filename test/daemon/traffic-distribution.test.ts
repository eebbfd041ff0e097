/**
 * Which endpoints are near, as a table: from pods that a selector picks, and from EndpointSlices with and without hints.
 * Nodes 1 and 2 are in zone a, node 3 in zone b, node 4 in none.
 */
import { describe, expect, test } from 'vitest'
import type { Pod } from '../../daemon/cluster/objects.ts'
import type { EndpointSlice, Service, ServiceSpec, SliceEndpoint } from '../../daemon/cluster/service-objects.ts'
import { servicePortsOf } from '../../daemon/control/service-ports.ts'

const ZONES = new Map([
  ['node1', 'a'],
  ['node2', 'a'],
  ['node3', 'b'],
])
const NODES = ['node1', 'node2', 'node3', 'node4'] as const

function serviceOf(spec: Partial<ServiceSpec>): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { type: 'ClusterIP', selector: { app: 'web' }, ports: [{ port: 80, protocol: 'TCP' }], ...spec },
    status: { clusterIPs: ['10.96.1.1'], nodePorts: [], conditions: [] },
  }
}

/** One on each node that is named, `10.0.0.N` on node N; `-` before the name: not ready. */
function podsOn(...nodes: string[]): Pod[] {
  return nodes.map((name) => {
    const nodeName = name.replace('-', '')
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: nodeName, namespace: 'default', uid: nodeName, labels: { app: 'web' } },
      spec: { nodeName, containers: [] },
      status: {
        phase: 'Running',
        podIPs: [{ ip: `10.0.0.${nodeName.at(-1)}` }],
        conditions: [{ type: 'Ready', status: name.startsWith('-') ? 'False' : 'True' }],
      },
    }
  })
}

function sliceOf(endpoints: SliceEndpoint[]): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ protocol: 'TCP', port: 80 }],
  }
}

/** To which nodes new flows go from each node: `1 → 1 2`; the same from inside as from outside unless said. */
function ways(spec: Partial<ServiceSpec>, slices: EndpointSlice[], pods: Pod[]): string[] {
  return NODES.map((nodeName) => {
    const here = { nodeName, addresses: [], virtualAddresses: [], nodeAddresses: [], zones: ZONES }
    const [port] = servicePortsOf(serviceOf(spec), slices, pods, here)
    const { inside, outside, endpoints, usable } = port!
    const shown = (list: readonly number[]): string =>
      list.map((i) => endpoints[i]!.address.split('.')[3]!).join(' ') || 'none'
    expect(usable).toBeGreaterThanOrEqual(inside.length)
    const [one, other] = [shown(inside), shown(outside)]
    return `${nodeName.at(-1)} → ${one === other ? one : `${one}, from outside ${other}`}`
  })
}

const EVERYWHERE = podsOn(...NODES)

describe('of pods that a selector picks', () => {
  test.each<[string, Partial<ServiceSpec>, Pod[], string[]]>([
    ['without a wish', {}, EVERYWHERE, ['1 → 1 2 3 4', '2 → 1 2 3 4', '3 → 1 2 3 4', '4 → 1 2 3 4']],
    [
      'the same zone',
      { trafficDistribution: 'PreferSameZone' },
      EVERYWHERE,
      ['1 → 1 2', '2 → 1 2', '3 → 3', '4 → 1 2 3 4'],
    ],
    [
      'by its older name',
      { trafficDistribution: 'PreferClose' },
      EVERYWHERE,
      ['1 → 1 2', '2 → 1 2', '3 → 3', '4 → 1 2 3 4'],
    ],
    ['the same node', { trafficDistribution: 'PreferSameNode' }, EVERYWHERE, ['1 → 1', '2 → 2', '3 → 3', '4 → 4']],
    [
      'the same node, else the zone, else all',
      { trafficDistribution: 'PreferSameNode' },
      podsOn('node2', 'node4'),
      ['1 → 2', '2 → 2', '3 → 2 4', '4 → 4'],
    ],
    [
      'whoever is not ready is not near',
      { trafficDistribution: 'PreferSameZone' },
      podsOn('-node1', '-node2', 'node3', 'node4'),
      ['1 → 3 4', '2 → 3 4', '3 → 3', '4 → 3 4'],
    ],
    [
      'after a traffic policy of Local',
      { trafficDistribution: 'PreferSameZone', internalTrafficPolicy: 'Local' },
      podsOn('node2', 'node3'),
      ['1 → none, from outside 2', '2 → 2', '3 → 3', '4 → none, from outside 2 3'],
    ],
    [
      'also from outside',
      { trafficDistribution: 'PreferSameZone', externalTrafficPolicy: 'Local' },
      podsOn('node1', 'node2', 'node3'),
      ['1 → 1 2, from outside 1', '2 → 1 2, from outside 2', '3 → 3', '4 → 1 2 3, from outside none'],
    ],
  ])('%s', (_, spec, pods, expected) => {
    expect(ways(spec, [], pods)).toEqual(expected)
  })
})

describe('of EndpointSlices', () => {
  const on = (n: number, more: Partial<SliceEndpoint> = {}): SliceEndpoint => ({
    addresses: [`10.0.0.${n}`],
    nodeName: `node${n}`,
    ...more,
  })
  const forZones = (...names: string[]) => ({ hints: { forZones: names.map((name) => ({ name })) } })
  const both = (node: string, zone: string) => ({
    hints: { forNodes: [{ name: node }], forZones: [{ name: zone }] },
  })

  test.each<[string, Partial<ServiceSpec>, SliceEndpoint[], string[]]>([
    [
      'by the zones of their nodes where there are no hints',
      { trafficDistribution: 'PreferSameZone' },
      [on(1), on(3)],
      ['1 → 1', '2 → 1', '3 → 3', '4 → 1 3'],
    ],
    [
      'by the zone that they name themselves',
      { trafficDistribution: 'PreferSameZone' },
      [on(1, { zone: 'b' }), on(3, { zone: 'a' })],
      ['1 → 3', '2 → 3', '3 → 1', '4 → 1 3'],
    ],
    [
      'by hints, whatever the Service wishes',
      {},
      [on(1, forZones('a')), on(2, forZones('b')), on(3, forZones('a', 'b'))],
      ['1 → 1 3', '2 → 1 3', '3 → 2 3', '4 → 1 2 3'],
    ],
    [
      'hints that one of them lacks say nothing',
      {},
      [on(1, forZones('a')), on(2, forZones('b')), on(3)],
      ['1 → 1 2 3', '2 → 1 2 3', '3 → 1 2 3', '4 → 1 2 3'],
    ],
    [
      'hints of one that is not ready are not missed',
      {},
      [on(1, forZones('a')), on(2, { conditions: { ready: false } }), on(3, forZones('b'))],
      ['1 → 1', '2 → 1', '3 → 3', '4 → 1 3'],
    ],
    [
      'hints for nodes, then for zones',
      { trafficDistribution: 'PreferSameNode' },
      [on(1, both('node1', 'a')), on(3, both('node3', 'b'))],
      ['1 → 1', '2 → 1', '3 → 3', '4 → 1 3'],
    ],
    [
      'nobody is ready: those that serve while they terminate, wherever they are',
      { trafficDistribution: 'PreferSameZone' },
      [1, 3].map((n) => on(n, { conditions: { ready: false, serving: true, terminating: true } })),
      ['1 → 1 3', '2 → 1 3', '3 → 1 3', '4 → 1 3'],
    ],
  ])('%s', (_, spec, endpoints, expected) => {
    expect(ways(spec, [sliceOf(endpoints)], [])).toEqual(expected)
  })
})
