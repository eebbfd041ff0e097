/** Addresses and node ports of Services: claimed by several stores at once without a clash, kept, freed, refused. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import { refusalOf, type Service, type ServiceSpec } from '../../daemon/cluster/service-objects.ts'
import { ClusterFolder, until } from '../support/cluster-folder.ts'

let folder: ClusterFolder
let store: FolderStore
beforeEach(async () => {
  folder = new ClusterFolder()
  store = await folder.open()
})
afterEach(() => folder.remove())

const serviceOf = (name: string, spec: Partial<ServiceSpec> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { type: 'ClusterIP', ports: [{ port: 80, protocol: 'TCP' }], ...spec },
})
const get = (name: string, from = store): Service => from.get('Service', name, 'default')!
const claims = (): string[] => readdirSync(join(folder.path, 'service-claims')).sort()
const keyOf = (name: string) => ({ kind: 'Service', namespace: 'default', name }) as const
const nodePort = (number?: number): Partial<ServiceSpec> => ({
  type: 'NodePort',
  ports: [{ port: 80, protocol: 'TCP', ...(number !== undefined && { nodePort: number }) }],
})

describe('what a Service gets', () => {
  test('an address of the first family, or of both; it stands in the spec that others read, not in the file', async () => {
    await store.put(serviceOf('one'))
    await store.put(serviceOf('both', { ipFamilyPolicy: 'PreferDualStack' }))
    await store.put(serviceOf('six', { ipFamilies: ['IPv6'] }))
    expect(get('one').spec).toMatchObject({ clusterIP: expect.stringMatching(/^10\.96\./), ipFamilies: ['IPv4'] })
    expect(get('both').spec.clusterIPs).toEqual([
      expect.stringMatching(/^10\.96\./),
      expect.stringMatching(/^fd00:10:96::/),
    ])
    expect(get('six').spec.clusterIP).toMatch(/^fd00:10:96::/)
    expect(refusalOf(get('one'))).toBeUndefined()
    expect(await store.put(serviceOf('one'))).toBe('unchanged')
  })

  test('the one it asks for; what it left out before stays, what it asks for anew takes its place', async () => {
    await store.put(serviceOf('dns', { clusterIP: '10.96.0.10' }))
    expect(get('dns').spec.clusterIP).toBe('10.96.0.10')
    await store.put(serviceOf('dns', { ports: [{ port: 53, protocol: 'UDP' }] }))
    expect(get('dns').spec.clusterIP).toBe('10.96.0.10')
    await store.put(serviceOf('dns', { clusterIP: '10.96.0.11' }))
    expect([get('dns').spec.clusterIP, claims()]).toEqual(['10.96.0.11', ['IPv4-11.yaml']])
  })

  test('None, and an ExternalName, take nothing', async () => {
    await store.put(serviceOf('headless', { clusterIP: 'None' }))
    await store.put(serviceOf('name', { type: 'ExternalName', externalName: 'example.com', ports: [] }))
    expect(get('headless').spec.clusterIP).toBe('None')
    expect(get('name').status).toMatchObject({ clusterIPs: [], conditions: [{ status: 'True' }] })
    expect(claims()).toEqual([])
  })

  test('a node port, which is free again when the type changes or the Service goes', async () => {
    await store.put(serviceOf('web', nodePort(30_080)))
    await store.put(serviceOf('any', nodePort()))
    expect(get('web').spec.ports![0]!.nodePort).toBe(30_080)
    expect(get('any').spec.ports![0]!.nodePort).toBeGreaterThanOrEqual(30_086)
    expect(get('any').spec.ports![0]!.nodePort).toBeLessThanOrEqual(32_767)
    await store.put(serviceOf('web'))
    expect(claims()).not.toContain('TCP-30080.yaml')
    for (const name of ['web', 'any']) await store.delete(keyOf(name))
    expect(claims()).toEqual([])
  })
})

describe('several polderds', () => {
  test('give a hundred Services written by hand an address each, and one only', async () => {
    const stores = [store, await folder.open(), await folder.open()]
    for (let i = 0; i < 100; i++) {
      folder.write(
        `services/default/s${i}.yaml`,
        `apiVersion: v1\nkind: Service\nmetadata: {name: s${i}}\nspec: {ports: [{port: 80}]}\n`,
      )
    }
    await until(() => stores.every((each) => each.list('Service').length === 100))
    await Promise.all(stores.flatMap((each) => each.list('Service').map((service) => each.settleService(service))))
    await until(() => stores.every((each) => each.list('Service').every((service) => each.isSettled(service))))
    const addresses = stores.map((each) => each.list('Service').map(({ spec }) => spec.clusterIP))
    expect(new Set(addresses[0]).size).toBe(100)
    expect(addresses[1]).toEqual(addresses[0])
    expect(addresses[2]).toEqual(addresses[0])
    expect(claims()).toHaveLength(100)
  }, 60_000)

  test('of two that want the same the first has it; the other is told, and gets it when the first is gone', async () => {
    await store.put(serviceOf('first', { clusterIP: '10.96.0.10' }))
    await store.put(serviceOf('second', { clusterIP: '10.96.0.10', ...nodePort(30_081) }))
    expect(refusalOf(get('second'))).toBe(
      'spec.clusterIP: 10.96.0.10 is that of Service default/first: choose another, or none',
    )
    expect(get('second').status).toMatchObject({ clusterIPs: [], nodePorts: [{ nodePort: 30_081 }] })
    expect(store.problems().map(({ place }) => place)).toEqual([join(folder.path, 'services/default/second.yaml')])
    expect(folder.warnings.join()).toContain('10.96.0.10 is that of Service default/first')
    await store.delete(keyOf('first'))
    await store.settleService(get('second'))
    expect(get('second').spec.clusterIP).toBe('10.96.0.10')
    expect(store.problems()).toEqual([])
  })

  test('what a Service had that was removed while nobody ran is free at the next start', async () => {
    await store.put(serviceOf('gone', nodePort(30_082)))
    await store.close()
    rmSync(join(folder.path, 'services/default/gone.yaml'))
    await folder.open()
    expect(claims()).toEqual([])
  })
})

test.each<[Partial<ServiceSpec>, RegExp]>([
  [{ clusterIP: '192.0.2.1' }, /192\.0\.2\.1 lies outside the service ranges 10\.96\.0\.0\/16, fd00:10:96::\/112/],
  [{ clusterIP: '10.96.255.255' }, /is not among the addresses of 10\.96\.0\.0\/16/],
  [nodePort(8080), /the node port 8080 lies outside 30000–32767/],
])('%j is refused on the object', async (spec, message) => {
  await store.put(serviceOf('bad', spec))
  expect(refusalOf(get('bad'))).toMatch(message)
})

test('a cluster of one family has Services of one family', async () => {
  await store.close()
  store = await folder.open({ serviceCIDRs: ['10.96.0.0/24'] })
  await store.put(serviceOf('both', { ipFamilyPolicy: 'RequireDualStack' }))
  await store.put(serviceOf('six', { ipFamilies: ['IPv6'] }))
  await store.put(serviceOf('prefer', { ipFamilyPolicy: 'PreferDualStack' }))
  expect(refusalOf(get('both'))).toContain('needs serviceCIDRs of both families')
  expect([get('six').status!.clusterIPs, refusalOf(get('six'))]).toEqual([
    [],
    expect.stringContaining('no service range of IPv6'),
  ])
  expect([get('prefer').spec.ipFamilies, refusalOf(get('prefer'))]).toEqual([['IPv4'], undefined])
})

test('a range that is full says so', async () => {
  await store.close()
  store = await folder.open({ serviceCIDRs: ['10.96.0.0/29'] })
  for (let i = 0; i < 7; i++) await store.put(serviceOf(`s${i}`))
  expect(Array.from({ length: 7 }, (_, i) => refusalOf(get(`s${i}`)) === undefined)).toEqual([
    ...Array(6).fill(true),
    false,
  ])
  expect(refusalOf(get('s6'))).toContain('no address of 10.96.0.0/29 is free')
})

test.each([
  ['ports: []', /spec\.ports.* must hold at least one port/],
  ['ports: [{port: 80}, {port: 81}]', /ports\[0\]\.name: is missing; must be given, as there are several/],
  ['ports: [{port: 80, protocol: ICMP}]', /protocol: "ICMP" must be TCP, UDP or SCTP/],
  [
    '{ports: [{name: a, port: 80}, {name: b, port: 80}]}',
    /ports\[1\]\.port: 80 must be unique: ports\[0\] has it for TCP/,
  ],
  ['{clusterIP: None, type: NodePort}', /clusterIP: "None" must not be None for a Service of type NodePort/],
  ['{clusterIPs: [10.96.0.1, 10.96.0.2], ports: [{port: 1}]}', /clusterIPs: must hold at most one for each family/],
  ['{type: ExternalName}', /externalName: is missing; must be a name/],
])('a spec of %s is no Service', async (spec, message) => {
  folder.write(
    'services/default/bad.yaml',
    `apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: ${spec.startsWith('{') ? spec : `{${spec}}`}\n`,
  )
  await until(() => store.problems().length > 0)
  expect(store.problems()[0]!.message).toMatch(message)
})
