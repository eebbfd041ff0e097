/**
 * podman's containers on the pod network, by the list that polderd writes for containerd: `podman run --network polder`.
 *
 *   podman ── 10-polder.conflist ──► polder-cni ──► polderd (node1) ── underlay ── polderd (node2) ── bare pod
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { Podman } from '../support/podman.ts'

let cluster: TestCluster
let node: TestNode
let far: Pod
let podman: Podman

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  node = cluster.nodes[0]!
  await cluster.start()
  far = await cluster.nodes[1]!.addPod('far')
  podman = await Podman.start(node)
})

afterAll(async () => {
  await podman[Symbol.asyncDispose]()
  await cluster.nodes[1]!.removePod(far)
  await cluster[Symbol.asyncDispose]()
})

const attached = () => node.get<Attachment[]>('/v1/attachments')
const onPolder = (...args: string[]) => podman.run('run', '--network=polder', ...args)

test('a container gets an address, reaches a pod on another node, and leaves nothing', async () => {
  const id = await onPolder('--detach', '--name=web', 'localhost/busybox', 'sleep', '1000')
  const [attachment, ...others] = await attached()
  expect(others).toEqual([])
  expect(attachment).toMatchObject({ containerId: id, ifName: 'eth0', network: 'polder' })
  const [v4, v6] = attachment!.addresses
  expect(await podman.run('inspect', '--format={{.NetworkSettings.Networks.polder.IPAddress}}', 'web')).toBe(v4)
  const addresses = await podman.run('exec', 'web', 'ip', 'addr', 'show', 'eth0')
  for (const address of [v4, v6]) expect(addresses).toContain(address)
  for (const address of [far.v4, far.v6]) {
    expect(await podman.run('exec', '--privileged', 'web', 'ping', '-c', '1', address)).toContain(' 0% packet loss')
  }
  expect(await far.netns.run('ping', '-c', '1', v4!)).toContain(' 0% packet loss')
  await podman.run('rm', '--force', '--time=0', 'web')
  expect(await attached()).toEqual([])
})

test('a container gets the address it asks for, also after a restart; a MAC address is refused', async () => {
  const { podCIDRs } = await node.info()
  const wanted = podCIDRs[0]!.replace('.0/24', '.50')
  await onPolder('--detach', '--name=fixed', `--ip=${wanted}`, 'localhost/busybox', 'sleep', '1000')
  expect((await attached()).map(({ addresses }) => addresses[0])).toEqual([wanted])
  await podman.run('restart', '--time=0', 'fixed')
  expect((await attached()).map(({ addresses }) => addresses[0])).toEqual([wanted])
  await expect(onPolder(`--ip=${wanted}`, 'localhost/busybox', 'true')).rejects.toThrow(`${wanted} cannot be had`)
  await expect(onPolder('--mac-address=02:00:00:00:00:01', 'localhost/busybox', 'true')).rejects.toThrow('MAC')
  await podman.run('rm', '--all', '--force', '--time=0')
  expect(await attached()).toEqual([])
})
