/**
 * What polderd is allowed to do, and what it needs: all of a node's work with two capabilities, and each of them needed.
 */
import { afterEach, expect, it } from 'vitest'
import { TestCluster } from '../support/cluster.ts'

let cluster: TestCluster

afterEach(() => cluster[Symbol.asyncDispose]())

async function startWith(...capabilities: string[]): Promise<void> {
  cluster = await TestCluster.create(1)
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join()
  cluster.nodes[0]!.wrapper = ['setpriv', '--no-new-privs', `--inh-caps=${set}`, `--bounding-set=${set}`]
  await cluster.start()
}

it('does all of a node with CAP_NET_ADMIN and CAP_SYS_ADMIN', async () => {
  await startWith('net_admin', 'sys_admin')
  const node = cluster.nodes[0]!
  const [a, b] = await Promise.all([node.addPod('pa'), node.addPod('pb')])
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
  await a.netns.run('ping', '-c', '1', '-W', '5', '198.18.0.1')
  expect(await node.netns.run('nft', 'list', 'table', 'inet', 'polder')).toContain('masquerade')
  for (const pod of [a, b]) await node.removePod(pod)
  await node.stop()
})

it('cannot start without CAP_NET_ADMIN, and says so', async () => {
  await expect(startWith('sys_admin')).rejects.toThrow(/EPERM|Operation not permitted|root/)
})

it('cannot enter a pod without CAP_SYS_ADMIN, and says so', async () => {
  await startWith('net_admin')
  await expect(cluster.nodes[0]!.addPod('pc')).rejects.toThrow(/EPERM|not permitted/)
})
