/**
 * What polderd is allowed to do, and what it needs: all of a node's work with two capabilities, and each of them needed.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { TestCluster } from '../support/cluster.ts'
import { until } from '../support/netns.ts'

let cluster: TestCluster

afterEach(() => cluster[Symbol.asyncDispose]())

async function startWith(capabilities: string[], ...flags: string[]): Promise<void> {
  cluster = await TestCluster.create(1)
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join()
  cluster.nodes[0]!.wrapper = ['setpriv', '--no-new-privs', `--inh-caps=${set}`, `--bounding-set=${set}`]
  await cluster.start(...flags)
}

it('does all of a node with CAP_NET_ADMIN and CAP_SYS_ADMIN', async () => {
  await startWith(['net_admin', 'sys_admin'])
  const node = cluster.nodes[0]!
  const [a, b] = await Promise.all([node.addPod('pa'), node.addPod('pb')])
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
  await a.netns.run('ping', '-c', '1', '-W', '5', '198.18.0.1')
  expect(await node.netns.run('nft', 'list', 'table', 'inet', 'polder')).toContain('masquerade')
  for (const pod of [a, b]) await node.removePod(pod)
  await node.stop()
})

it('cannot start without CAP_NET_ADMIN, and says so', async () => {
  await expect(startWith(['sys_admin'])).rejects.toThrow(/EPERM|Operation not permitted|root/)
})

it('cannot enter a pod without CAP_SYS_ADMIN, and says so', async () => {
  await startWith(['net_admin'])
  await expect(cluster.nodes[0]!.addPod('pc')).rejects.toThrow(/EPERM|not permitted/)
})

it('cannot answer for load balancer addresses without CAP_NET_RAW, and says so', async () => {
  await startWith(['net_admin', 'sys_admin'], '--load-balancer-pools', '198.18.0.200/30')
  const node = cluster.nodes[0]!
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
  }
  const folder = join(cluster.folder, 'cluster/services/default')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'web.yaml'), stringify(service))
  await until(() => node.log.includes('load balancer addresses cannot be answered for now'))
  expect(node.log).toMatch(/EPERM/)
})
