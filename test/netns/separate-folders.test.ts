/**
 * Three nodes that share no folder, as Vagrant's VMs or separate machines: each polderd has a cluster folder of its own,
 * in which scripts/vagrant-provision wrote all three nodes. Their pods form one network all the same.
 *
 *   pod ─ node1 192.168.56.11 ─┐
 *   pod ─ node2 192.168.56.12 ─┼ bridge
 *   pod ─ node3 192.168.56.13 ─┘
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pod, TestCluster } from '../support/cluster.ts'

const PROVISION = join(import.meta.dirname, '../../scripts/vagrant-provision')

let cluster: TestCluster
let pods: Pod[]

beforeAll(async () => {
  cluster = await TestCluster.create(3)
  for (const [index, node] of cluster.nodes.entries()) {
    const root = join(cluster.folder, `vm${index + 1}`)
    execFileSync(PROVISION, [String(index + 1), '--root', root])
    await node.netns.run('ip', 'address', 'add', `192.168.56.${11 + index}/24`, 'dev', 'underlay')
    await node.start('--config', `${root}/etc/polder/polder.yaml`, '--cluster-folder', `${root}/var/lib/polder/cluster`)
  }
  pods = []
  for (const node of cluster.nodes) pods.push(await node.addPod(`pod-of-${node.name}`))
})

afterAll(async () => {
  for (const [index, pod] of (pods ?? []).entries()) await cluster.nodes[index]!.removePod(pod)
  await cluster?.[Symbol.asyncDispose]()
})

test('each node has the range that was written for it', async () => {
  for (const [index, node] of cluster.nodes.entries()) {
    const { podCIDRs, underlayAddress } = await node.info()
    expect(podCIDRs).toEqual([`10.244.${index + 1}.0/24`, `fd00:10:244:${index + 1}::/64`])
    expect(underlayAddress).toBe(`192.168.56.${11 + index}`)
  }
})

test.each([
  [0, 1],
  [0, 2],
  [1, 2],
  [2, 0],
])('pod %i reaches pod %i over both families', async (from, to) => {
  for (const address of [pods[to]!.v4, pods[to]!.v6]) {
    const stdout = await pods[from]!.netns.run('ping', '-c', '1', '-W', '5', address)
    expect(stdout).toContain('1 received')
  }
})
