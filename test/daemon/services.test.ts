/**
 * What the data path gets while Services, EndpointSlices, Pods and Nodes come, change and go in a real cluster folder: the
 * same as what is computed from all that is there, from nothing.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, expect, it } from 'vitest'
import { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import type { ClusterObject, Node, Pod } from '../../daemon/cluster/objects.ts'
import type { EndpointSlice, Service } from '../../daemon/cluster/service-objects.ts'
import { Services } from '../../daemon/control/services.ts'
import type { OwnNode } from '../../daemon/control/surroundings.ts'
import { HostPorts } from '../../daemon/host-ports/host-ports.ts'
import { formatAddress, parseAddress } from '../../packet/address.ts'
import type { ServiceBuffers } from '../../packet/tables/service-port.ts'
import { ServiceTable } from '../../packet/tables/services.ts'
import { until } from '../support/netns.ts'

const folder = mkdtempSync(join(tmpdir(), 'polder-services-'))
afterAll(() => rmSync(folder, { recursive: true }))

const log = pino({ level: 'silent' })
const own: OwnNode = {
  name: 'node1',
  podCIDRs: ['10.244.1.0/24'],
  underlayAddress: '192.0.2.1',
  mtuBytes: 1450,
  tunnelMtuBytes: 1450,
}
const ADDRESSES = ['10.96.1.1', '10.96.1.2', '10.96.1.3']

const labels = fc.record({ app: fc.constantFrom('a', 'b'), tier: fc.constantFrom('x', 'y') }, { requiredKeys: ['app'] })
const service = fc
  .record({ n: fc.nat(2), selector: labels, same: fc.boolean(), near: fc.boolean(), nodePort: fc.boolean() })
  .map(
    ({ n, selector, same, near, nodePort }): Service => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: `s${n}`, namespace: 'default' },
      spec: {
        type: nodePort ? 'NodePort' : 'ClusterIP',
        clusterIP: ADDRESSES[n]!,
        selector,
        ports: [{ port: 80, protocol: 'TCP', targetPort: 8080, ...(nodePort && { nodePort: 30_000 + n }) }],
        ...(same && { internalTrafficPolicy: 'Local' as const }),
        ...(near && { trafficDistribution: 'PreferSameZone' as const }),
      },
    }),
  )
const pod = fc
  .record({ n: fc.nat(3), labels, nodeName: fc.constantFrom('node1', 'node2', 'node3'), ready: fc.boolean() })
  .map(
    ({ n, labels, nodeName, ready }): Pod => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${n}`, namespace: 'default', labels },
      spec: { nodeName, containers: [{ name: 'c', image: 'i' }] },
      status: {
        phase: 'Running',
        podIP: `10.244.2.${n + 10}`,
        conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      },
    }),
  )
const slice = fc.record({ n: fc.nat(2), of: fc.nat(2), endpoints: fc.uniqueArray(fc.nat(5), { maxLength: 3 }) }).map(
  ({ n, of, endpoints }): EndpointSlice => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `e${n}`, namespace: 'default', labels: { 'kubernetes.io/service-name': `s${of}` } },
    addressType: 'IPv4',
    endpoints: endpoints.map((e) => ({ addresses: [`10.244.3.${e + 10}`], nodeName: `node${1 + (e % 3)}` })),
    ports: [{ protocol: 'TCP', port: 8080 }],
  }),
)
const node = fc.record({ n: fc.constantFrom(2, 3), zone: fc.constantFrom('a', 'b') }).map(
  ({ n, zone }): Node => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `node${n}`, labels: { 'topology.kubernetes.io/zone': zone } },
    spec: { podCIDRs: [`10.244.${n}.0/24`] },
  }),
)
const step = fc.record({
  object: fc.oneof({ weight: 3, arbitrary: service }, { weight: 3, arbitrary: pod }, slice, {
    weight: 2,
    arbitrary: node,
  }),
  isRemoved: fc.constantFrom(false, false, true),
})

/** Who answers at each address, from inside and from outside. */
function shown(buffers: ServiceBuffers): string[] {
  const table = new ServiceTable(buffers)
  const places = [
    ...ADDRESSES.map((address) => [address, 80] as const),
    ...ADDRESSES.flatMap((_, n) => ['192.0.2.1', '10.244.1.0'].map((address) => [address, 30_000 + n] as const)),
  ]
  return places.map(([address, port]) => {
    const frontend = table.find(...parseAddress(address), port, 6)
    if (frontend === -1) return `${address}:${port} nobody`
    const names = Array.from({ length: table.count(frontend) }, (_, i) => {
      const endpoint = table.endpoint(frontend, i)
      const words = [0, 1, 2, 3].map((word) => table.addressWord(endpoint, word))
      return `${formatAddress(words as never)} ${table.identity(endpoint)}`
    })
    return `${address}:${port} of ${table.usable(frontend)}: ${names.sort().join(', ')}`
  })
}

async function take(store: FolderStore, { object, isRemoved }: { object: ClusterObject; isRemoved: boolean }) {
  const { kind, metadata } = object
  const { name, namespace } = metadata
  if (isRemoved) await store.delete(namespace === undefined ? { kind, name } : { kind, name, namespace })
  else {
    await store.put(object)
    if (object.kind === 'Pod') await store.putPodStatus(object, object.status!)
  }
}

it('is what is there, however it came to be', async () => {
  const store = await FolderStore.open({
    folder,
    podCIDRs: ['10.244.0.0/16'],
    nodeMaskSizeIPv4: 24,
    nodeMaskSizeIPv6: 64,
    serviceCIDRs: ['10.96.0.0/16'],
    loadBalancerPools: [],
    log,
  })
  await store.put({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node1', labels: { 'topology.kubernetes.io/zone': 'a' } },
    spec: { podCIDRs: own.podCIDRs },
  })
  const hostPorts = new HostPorts({ nodePortOwner: () => undefined })
  const services = new Services({ own, store, hostPorts, serves: true, log })
  let handedOver = services.current
  services.follow(async (buffers) => {
    handedOver = buffers
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 4 }), async (steps) => {
      for (const one of steps) await take(store, one)
      const anew = new Services({ own, store, hostPorts, serves: true, log })
      const expected = shown(anew.current)
      await anew.stop()
      await until(() => shown(handedOver).join() === expected.join()).catch(() => {})
      expect(shown(handedOver)).toEqual(expected)
      expect(services.outward).toEqual(anew.outward)
    }),
    { numRuns: 60, endOnFailure: true },
  )
  await services.stop()
  await store.close()
})
