/** What Services get beyond the cluster: pool addresses, externalIPs, health check ports: claimed, kept, freed, refused. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import { balancerAddressesOf, refusalOf, type Service, type ServiceSpec } from '../../daemon/cluster/service-objects.ts'
import { ClusterFolder } from '../support/cluster-folder.ts'

const POOLS = ['198.51.100.8/30', '2001:db8::10-2001:db8::12']

let folder: ClusterFolder
let store: FolderStore
beforeEach(async () => {
  folder = new ClusterFolder()
  store = await folder.open({ loadBalancerPools: POOLS })
})
afterEach(() => folder.remove())

const claims = (): string[] => readdirSync(join(folder.path, 'service-claims')).filter((file) => !/^IPv/.test(file))
const get = (name: string): Service => store.get('Service', name, 'default')!
const keyOf = (name: string) => ({ kind: 'Service', namespace: 'default', name }) as const

/** Puts it, and answers its addresses from the pools. */
async function put(name: string, spec: Partial<ServiceSpec>, annotations?: Record<string, string>): Promise<string[]> {
  await store.put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', ...(annotations && { annotations }) },
    spec: {
      type: 'LoadBalancer',
      allocateLoadBalancerNodePorts: false,
      ports: [{ port: 80, protocol: 'TCP' }],
      ...spec,
    },
  })
  return balancerAddressesOf(get(name).status)
}

describe('a load balancer address', () => {
  test('is the first of the pools that is free, one for each family of the Service; without node ports if so wished', async () => {
    expect(await put('one', {})).toEqual(['198.51.100.8'])
    expect(await put('both', { ipFamilyPolicy: 'RequireDualStack' })).toEqual(['198.51.100.9', '2001:db8::10'])
    expect(await put('six', { ipFamilies: ['IPv6'] })).toEqual(['2001:db8::11'])
    expect(claims().sort()).toEqual(
      ['LB-198.51.100.8', 'LB-198.51.100.9', 'LB-2001-db8--10', 'LB-2001-db8--11'].map((name) => `${name}.yaml`),
    )
    for (const name of ['one', 'both', 'six']) expect(refusalOf(get(name))).toBeUndefined()
    await put('ported', { allocateLoadBalancerNodePorts: true })
    expect(get('ported').spec.ports![0]!.nodePort).toBeGreaterThanOrEqual(30_086)
  })

  test('is the one it wishes for, by field or annotation, stays, and is free when the Service goes or changes its type', async () => {
    expect(await put('one', { loadBalancerIP: '198.51.100.10' })).toEqual(['198.51.100.10'])
    expect(await put('one', {})).toEqual(['198.51.100.10'])
    const wish = { 'polder/load-balancer-ips': '2001:db8::12, 198.51.100.11' }
    expect(await put('both', { ipFamilyPolicy: 'RequireDualStack' }, wish)).toEqual(['198.51.100.11', '2001:db8::12'])
    expect(await put('one', { type: 'ClusterIP' })).toEqual([])
    await store.delete(keyOf('both'))
    expect(claims()).toEqual([])
  })

  test('is not given to the load balancer of somebody else, nor where there is no pool', async () => {
    expect(await put('other', { loadBalancerClass: 'example.com/other' })).toEqual([])
    expect(await put('ours', { loadBalancerClass: 'polder/load-balancer' })).toEqual(['198.51.100.8'])
    await store.close()
    store = await folder.open({ loadBalancerPools: [] })
    expect(await put('waiting', {})).toEqual([])
    for (const name of ['other', 'waiting']) expect(refusalOf(get(name))).toBeUndefined()
  })

  test('that another has, lies outside, or is a node’s is refused by name, and harms nobody', async () => {
    await put('first', { loadBalancerIP: '198.51.100.8' })
    await store.put({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'n', annotations: { 'polder/underlay-address': '198.51.100.9' } },
      spec: { podCIDRs: [] },
    })
    for (const [name, wish, message] of [
      ['second', '198.51.100.8', '198.51.100.8 is the load balancer address of Service default/first'],
      ['far', '192.0.2.1', '192.0.2.1 lies outside loadBalancerPools 198.51.100.8/30, 2001:db8::10-2001:db8::12'],
      ['node', '198.51.100.9', '198.51.100.9 is an address of a node'],
      ['family', '2001:db8::10', '2001:db8::10 is IPv6, and the Service has no such address'],
    ] as const) {
      expect(await put(name, { loadBalancerIP: wish })).toEqual(name === 'family' ? ['198.51.100.10'] : [])
      expect(refusalOf(get(name))).toContain(message)
      expect(get(name).status!.clusterIPs).toHaveLength(1)
      expect(store.problems().some(({ place }) => place.endsWith(`default/${name}.yaml`))).toBe(true)
    }
    expect(await put('last', {})).toEqual(['198.51.100.11'])
    expect(await put('none', {})).toEqual([])
    expect(refusalOf(get('none'))).toContain('no IPv4 address of loadBalancerPools is free')
    await store.delete(keyOf('first'))
    await store.settleService(get('second'))
    expect(balancerAddressesOf(get('second').status)).toEqual(['198.51.100.8'])
  })

  test('whose pool is gone is another one', async () => {
    await put('one', {})
    await store.close()
    store = await folder.open({ loadBalancerPools: ['203.0.113.4/32'] })
    expect(store.isSettled(get('one'))).toBe(false)
    await store.settleService(get('one'))
    expect([balancerAddressesOf(get('one').status), claims()]).toEqual([['203.0.113.4'], ['LB-203.0.113.4.yaml']])
  })
})

describe('externalIPs', () => {
  test('are claimed port by port; a clash, and an address that is not the Service’s to have, are refused', async () => {
    const external = (name: string, port: number, ips = ['192.0.2.5']): Promise<string[]> =>
      put(name, { type: 'ClusterIP', ports: [{ port, protocol: 'TCP' }], externalIPs: ips })
    await external('web', 80)
    await external('dns', 53)
    expect(claims().sort()).toEqual(['EX-192.0.2.5-TCP-53.yaml', 'EX-192.0.2.5-TCP-80.yaml'])
    await external('thief', 80)
    expect(refusalOf(get('thief'))).toContain('192.0.2.5 80/TCP is that of Service default/web')
    expect(get('thief').status!.externals).toBeUndefined()
    for (const ip of ['10.244.1.5', '10.96.0.1', '198.51.100.9', '127.0.0.1', '2001:db8::5']) {
      await external('bad', 81, [ip])
      expect(refusalOf(get('bad'))).toContain(`spec.externalIPs: ${ip}`)
    }
    await store.delete(keyOf('web'))
    await store.settleService(get('thief'))
    expect(get('thief').status!.externals).toEqual([{ ip: '192.0.2.5', port: 80, protocol: 'TCP' }])
  })
})

describe('healthCheckNodePort', () => {
  test('is claimed among all node ports, where the traffic policy is Local; a clash is refused', async () => {
    await put('any', { externalTrafficPolicy: 'Local' })
    const port = get('any').spec.healthCheckNodePort!
    expect(port).toBeGreaterThanOrEqual(30_086)
    await put('any', { externalTrafficPolicy: 'Local', loadBalancerSourceRanges: ['10.0.0.0/8'] })
    expect(get('any').spec.healthCheckNodePort).toBe(port)
    await put('thief', { externalTrafficPolicy: 'Local', healthCheckNodePort: port })
    expect(refusalOf(get('thief'))).toContain(`${port} is that of Service default/any`)
    await put('twice', {
      externalTrafficPolicy: 'Local',
      healthCheckNodePort: 30_001,
      ports: [{ port: 80, protocol: 'TCP', nodePort: 30_001 }],
    })
    expect(refusalOf(get('twice'))).toContain('30001 is a node port of this Service')
    await put('far', { externalTrafficPolicy: 'Local', healthCheckNodePort: 80 })
    expect(refusalOf(get('far'))).toContain('80 lies outside 30000–32767')
    await put('any', { externalTrafficPolicy: 'Cluster' })
    expect(claims()).not.toContain(`TCP-${port}.yaml`)
    expect(get('any').spec.healthCheckNodePort).toBeUndefined()
  })
})

test('what Services had that were removed while nobody ran is free at the next start', async () => {
  await put('gone', { externalIPs: ['192.0.2.5'], externalTrafficPolicy: 'Local' })
  expect(claims()).toHaveLength(3)
  await store.close()
  rmSync(join(folder.path, 'services/default/gone.yaml'))
  await folder.open({ loadBalancerPools: POOLS })
  expect(claims()).toEqual([])
})
