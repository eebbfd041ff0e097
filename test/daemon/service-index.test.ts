/** The index of what stands behind Services, where a pod that ends and its successor have one name. */
import { expect, test } from 'vitest'
import type { Pod } from '../../daemon/cluster/objects.ts'
import type { Service } from '../../daemon/cluster/service-objects.ts'
import { endpointsOf, usable } from '../../daemon/control/endpoints.ts'
import { ServiceIndex } from '../../daemon/control/service-index.ts'

const service: Service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'default' },
  spec: { type: 'ClusterIP', selector: { app: 'web' }, ports: [{ protocol: 'TCP', port: 80 }] },
}
const podOf = (uid: string, podIP: string, deletion = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid, labels: { app: 'web' }, ...deletion },
  spec: { containers: [] },
  status: { phase: 'Running', podIP, conditions: [{ type: 'Ready', status: 'True' }] },
})
const before = podOf('one', '10.244.1.3')
const ending = podOf('one', '10.244.1.3', { deletionTimestamp: '2026-01-31T12:00:30Z' })
const next = podOf('two', '10.244.1.4')

const addresses = (index: ServiceIndex) =>
  usable(endpointsOf(service, service.spec.ports![0]!, 'IPv4', [], index.podsOf(service))).map((one) => one.address)

test('a pod that ends serves while nobody else is ready, and is there until its own end', () => {
  const index = new ServiceIndex()
  index.note(undefined, service)
  index.note(undefined, before)
  // As the store tells of a deletion: the pod that ends first, then that the one before is gone.
  expect(index.note(undefined, ending)).toEqual(new Set(['default/web']))
  index.note(before, undefined)
  expect(addresses(index)).toEqual(['10.244.1.3'])
  index.note(undefined, next)
  expect(addresses(index)).toEqual(['10.244.1.4'])
  expect(index.podsOf(service)).toHaveLength(2)
  index.note(ending, undefined)
  expect(index.podsOf(service)).toEqual([next])
})
