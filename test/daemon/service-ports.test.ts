/** From Services, slices and pods to service ports: who is behind a Service, who of them is usable, from where. */
import { describe, expect, test } from 'vitest'
import type { Pod } from '../../daemon/cluster/objects.ts'
import type { EndpointSlice, Service, ServiceSpec, SliceEndpoint } from '../../daemon/cluster/service-objects.ts'
import { endpointsOf } from '../../daemon/control/endpoints.ts'
import { isNothing, outwardOf } from '../../daemon/control/outward.ts'
import { type Here, nodePortsOf, servicePortsOf } from '../../daemon/control/service-ports.ts'

const HERE: Here = {
  nodeName: 'node1',
  addresses: ['192.0.2.1', '10.244.1.1', 'fd00:10:244:1::1'],
  virtualAddresses: ['10.244.1.0', 'fd00:10:244:1::'],
  zones: new Map(),
  nodeAddresses: ['192.0.2.1', '192.0.2.2'],
}

function serviceOf(spec: Partial<ServiceSpec> = {}, clusterIPs = ['10.96.1.1']): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      type: 'ClusterIP',
      selector: { app: 'web' },
      ports: [{ port: 80, protocol: 'TCP', targetPort: 'http' }],
      ...spec,
    },
    status: {
      clusterIPs,
      nodePorts: (spec.ports ?? []).flatMap(({ port, protocol, nodePort }) =>
        nodePort ? [{ port, protocol, nodePort }] : [],
      ),
      conditions: [],
    },
  }
}

function podOf(name: string, ip: string, ready: 'True' | 'False', nodeName = 'node1', port = 8080): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid: `uid-${name}`, labels: { app: 'web', tier: 'x' } },
    spec: { nodeName, containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: port }] }] },
    status: {
      phase: 'Running',
      podIPs: [{ ip }, { ip: `fd00::${ip.split('.').at(-1)}` }],
      conditions: [{ type: 'Ready', status: ready }],
    },
  }
}

function sliceOf(endpoints: SliceEndpoint[], port = 8080): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ protocol: 'TCP', port }],
  }
}

const PODS = [
  podOf('a', '10.244.1.5', 'True'),
  podOf('b', '10.244.2.5', 'True', 'node2', 9090),
  podOf('c', '10.244.2.6', 'False', 'node2'),
]

/** Addresses that new flows may go to: from inside, from outside. */
function reached(service: Service, slices: EndpointSlice[], pods: Pod[]): [string[], string[], number] {
  const [port] = servicePortsOf(service, slices, pods, HERE)
  const addresses = (list: readonly number[]): string[] =>
    list.map((i) => `${port!.endpoints[i]!.address}:${port!.endpoints[i]!.port}`)
  return [addresses(port!.inside), addresses(port!.outside), port!.usable]
}

const endpoint = (address: string, conditions: SliceEndpoint['conditions'], nodeName = 'node1'): SliceEndpoint => ({
  addresses: [address],
  nodeName,
  ...(conditions !== undefined && { conditions }),
})

describe('endpoints', () => {
  test('of pods: by labels, readiness and the name of the port', () => {
    const both = ['10.244.1.5:8080', '10.244.2.5:9090']
    expect(reached(serviceOf(), [], PODS)).toEqual([both, both, 2])
    expect(reached(serviceOf({ selector: { app: 'other' } }), [], PODS)).toEqual([[], [], 0])
    expect(reached(serviceOf({ selector: {} }), [], PODS)).toEqual([[], [], 0])
    expect(reached(serviceOf({ publishNotReadyAddresses: true }), [], PODS)[2]).toBe(3)
    const elsewhere = PODS.map((pod) => ({ ...pod, metadata: { ...pod.metadata, namespace: 'other' } }))
    expect(reached(serviceOf(), [], elsewhere)[2]).toBe(0)
    const numeric = serviceOf({ ports: [{ port: 80, protocol: 'TCP' }] })
    expect(reached(numeric, [], PODS)[0]).toEqual(['10.244.1.5:80', '10.244.2.5:80'])
  })

  test('of slices, where there is one: ready ones, else those that serve while they terminate, never others', () => {
    const ready = endpoint('10.244.9.1', undefined)
    const serving = endpoint('10.244.9.2', { ready: false, serving: true, terminating: true })
    const dying = endpoint('10.244.9.3', { ready: false, serving: false, terminating: true })
    const waiting = endpoint('10.244.9.4', { ready: false })
    const first = (endpoints: SliceEndpoint[]): string[] => reached(serviceOf(), [sliceOf(endpoints)], PODS)[0]
    expect(first([ready, serving, dying, waiting])).toEqual(['10.244.9.1:8080'])
    expect(first([serving, dying, waiting])).toEqual(['10.244.9.2:8080'])
    expect(first([dying, waiting])).toEqual([])
    expect(first([])).toEqual([])
    // Who is merely there keeps the connections that it has.
    const [port] = servicePortsOf(serviceOf(), [sliceOf([ready, serving, dying, waiting])], PODS, HERE)
    expect(port!.endpoints).toHaveLength(4)
  })

  test('an identity is the same for the same pod, another for another pod at its address, and for another Service', () => {
    const identity = (service: Service, uid: string): number => {
      const slice = sliceOf([{ ...endpoint('10.244.9.1', undefined), targetRef: { uid } }])
      return endpointsOf(service, service.spec.ports![0]!, 'IPv4', [slice], [])[0]!.identity
    }
    const renamed = { ...serviceOf(), metadata: { name: 'other', namespace: 'default' } }
    expect(identity(serviceOf(), 'x')).toBe(identity(serviceOf(), 'x'))
    expect(new Set([identity(serviceOf(), 'x'), identity(serviceOf(), 'y'), identity(renamed, 'x')]).size).toBe(3)
  })
})

describe('where a Service is met', () => {
  test('traffic policies leave out the endpoints of other nodes; what could serve at all is known', () => {
    const local = serviceOf({ internalTrafficPolicy: 'Local' })
    expect(reached(local, [], PODS)).toEqual([['10.244.1.5:8080'], ['10.244.1.5:8080', '10.244.2.5:9090'], 2])
    expect(reached(local, [], PODS.slice(1))).toEqual([[], ['10.244.2.5:9090'], 1])
    const outside = serviceOf({ externalTrafficPolicy: 'Local' })
    expect(reached(outside, [], PODS)[1]).toEqual(['10.244.1.5:8080'])
  })

  test('each family has its own port; a node port is met at its virtual and at its own addresses', () => {
    const ports = [{ port: 80, protocol: 'TCP' as const, nodePort: 30_080 }]
    const service = serviceOf({ type: 'NodePort', ports }, ['10.96.1.1', 'fd00:10:96::101'])
    const [v4, v6] = servicePortsOf(service, [], PODS, HERE)
    expect(v4!.frontends).toEqual([
      { address: '10.96.1.1', port: 80 },
      { address: '10.244.1.0', port: 30_080 },
      { address: '192.0.2.1', port: 30_080, sharesAddress: true },
      { address: '10.244.1.1', port: 30_080, sharesAddress: true },
    ])
    expect(v6!.frontends.map(({ address }) => address)).toEqual([
      'fd00:10:96::101',
      'fd00:10:244:1::',
      'fd00:10:244:1::1',
    ])
    expect(v6!.endpoints.map(({ address, port }) => [address, port])).toEqual([
      ['fd00::5', 80],
      ['fd00::6', 80],
    ])
    expect(nodePortsOf(service).map(({ family, port }) => `${family} ${port}`)).toEqual(['IPv4 30080', 'IPv6 30080'])
  })

  test('load balancer addresses and externalIPs are met at themselves; the former apart where only some may come', () => {
    const service = serviceOf({ type: 'LoadBalancer', ports: [{ port: 80, protocol: 'TCP' }] })
    service.status = {
      ...service.status!,
      loadBalancer: { ingress: [{ ip: '203.0.113.9' }, { ip: '2001:db8::9' }] },
      externals: [
        { ip: '192.0.2.2', port: 80, protocol: 'TCP' },
        { ip: '192.0.2.77', port: 80, protocol: 'TCP' },
        { ip: '192.0.2.78', port: 81, protocol: 'TCP' },
      ],
    }
    const own = [
      { address: '10.96.1.1', port: 80 },
      { address: '192.0.2.2', port: 80, sharesAddress: true },
      { address: '192.0.2.77', port: 80 },
    ]
    const balanced = { address: '203.0.113.9', port: 80 }
    expect(servicePortsOf(service, [], PODS, HERE).map(({ frontends }) => frontends)).toEqual([[...own, balanced]])
    service.spec.loadBalancerSourceRanges = [' 198.51.100.0/24']
    const split = servicePortsOf(service, [], PODS, HERE)
    expect(split.map(({ frontends, sourceRanges }) => [frontends, sourceRanges])).toEqual([
      [own, []],
      [[balanced], ['198.51.100.0/24']],
    ])
    expect(split[1]!.endpoints).toEqual(split[0]!.endpoints)
  })

  test('what leads to polder0, who may answer on the link, and how many endpoints are here', () => {
    const service = serviceOf({ type: 'LoadBalancer', externalTrafficPolicy: 'Local' })
    service.status = {
      ...service.status!,
      loadBalancer: { ingress: [{ ip: '203.0.113.9' }] },
      externals: [
        { ip: '192.0.2.2', port: 80, protocol: 'TCP' },
        { ip: '192.0.2.77', port: 80, protocol: 'TCP' },
      ],
      healthCheckNodePort: 30_200,
    }
    const outward = outwardOf(service, [], PODS, HERE)
    expect(outward.addresses).toEqual(['203.0.113.9', '192.0.2.77'])
    expect(outward.externals.map(({ ip, clusterIP }) => [ip, clusterIP])).toEqual([
      ['192.0.2.2', '10.96.1.1'],
      ['192.0.2.77', '10.96.1.1'],
    ])
    expect(outward.balanced).toEqual([{ address: '203.0.113.9', service: 'default/web', nodes: ['node1', 'node2'] }])
    expect(outward.healthChecks).toEqual([{ namespace: 'default', name: 'web', port: 30_200, localEndpoints: 1 }])
    const away = outwardOf(service, [], PODS.slice(1), HERE)
    expect([away.balanced[0]!.nodes, away.healthChecks[0]!.localEndpoints]).toEqual([['node2'], 0])
    service.spec.externalTrafficPolicy = 'Cluster'
    expect(outwardOf(service, [], PODS, HERE).balanced[0]!.nodes).toBeUndefined()
    expect(isNothing(outwardOf(serviceOf(), [], PODS, HERE))).toBe(true)
  })

  test('a headless Service, one without addresses and an ExternalName are met nowhere', () => {
    expect(servicePortsOf(serviceOf({}, ['None']), [], PODS, HERE)).toEqual([])
    expect(servicePortsOf(serviceOf({}, []), [], PODS, HERE)).toEqual([])
    const { status: _, ...pending } = serviceOf({ clusterIP: '10.96.0.10' })
    expect(servicePortsOf(pending, [], PODS, HERE)).toEqual([])
  })

  test('affinity lasts three hours unless said otherwise', () => {
    const seconds = (spec: Partial<ServiceSpec>): number =>
      servicePortsOf(serviceOf(spec), [], PODS, HERE)[0]!.affinitySeconds
    expect(seconds({})).toBe(0)
    expect(seconds({ sessionAffinity: 'ClientIP' })).toBe(10_800)
    expect(seconds({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 9 } } })).toBe(9)
  })
})
