/**
 * kube-proxy beside polderd, or what it leaves: each of its traces, made for real in a node's namespace, keeps polderd from
 * starting with the remedy; one that comes later is said, and stops nothing; with `services: off` both go side by side.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import type { Finding } from '../../daemon/api/types.ts'
import { TestCluster, type TestNode } from '../support/cluster.ts'
import { ask, serveNamed } from '../support/conversations.ts'
import { type NetnsProcess, until } from '../support/netns.ts'

let cluster: TestCluster
let node: TestNode
/** `sleep`, under kube-proxy's name. */
let program: string

beforeAll(async () => {
  cluster = await TestCluster.create(1)
  node = cluster.nodes[0]!
  program = join(cluster.folder, 'kube-proxy')
  copyFileSync('/bin/sleep', program)
})
afterAll(() => cluster?.[Symbol.asyncDispose]())

/** What polderd says when it ends by itself. */
async function refusal(): Promise<string> {
  const polderd = node.spawn()
  expect(await polderd.ended).toBe(1)
  return polderd.stderr
}

const flush = (): Promise<string> => node.netns.run('nft', 'flush', 'ruleset')

describe('polderd does not start beside', () => {
  it.each([
    [
      'its nftables',
      ['nft', 'add table ip kube-proxy; add chain ip kube-proxy services'],
      'chain services of table ip kube-proxy',
    ],
    ['its iptables', ['iptables-nft', '-t', 'nat', '-N', 'KUBE-SERVICES'], 'chain KUBE-SERVICES of table ip nat'],
    [
      'its IPv6 iptables',
      ['ip6tables-nft', '-t', 'nat', '-N', 'KUBE-SERVICES'],
      'chain KUBE-SERVICES of table ip6 nat',
    ],
  ])('%s, left behind', async (_, command, place) => {
    await node.netns.run(...command)
    const said = await refusal()
    expect(said).toContain(`kube-proxy has left rules on this machine (${place})`)
    expect(said).toMatch(/kube-proxy --cleanup.*or leave Services to it: `services: off`/)
    await flush()
  })

  it('the device of IPVS', async () => {
    await node.netns.run('ip', 'link', 'add', 'kube-ipvs0', 'type', 'bridge')
    expect(await refusal()).toContain('(device kube-ipvs0)')
    await node.netns.run('ip', 'link', 'delete', 'kube-ipvs0')
  })

  it('its process, which is to be stopped first; one in another namespace is another machine’s', async () => {
    const elsewhere = cluster.underlay.spawn(program, '600')
    const here = node.netns.spawn(program, '600')
    const said = await until(refusal, 20_000)
    expect(said).toContain(`kube-proxy runs on this machine (process ${here.pid})`)
    expect(said).toMatch(/Stop it \(.*delete daemonset kube-proxy/)
    await here.end()
    await node.start()
    await node.stop()
    await elsewhere.end()
  })

  it('but beside the rules of a kubelet', async () => {
    for (const chain of ['KUBE-FIREWALL', 'KUBE-MARK-MASQ', 'KUBE-KUBELET-CANARY']) {
      await node.netns.run('iptables-nft', '-t', 'nat', '-N', chain)
    }
    await node.start()
    await node.stop()
    await flush()
  })
})

it('one that comes later is said in the log and by the doctor, and stops nothing', async () => {
  await node.start()
  const pod = await node.addPod('pod')
  await node.netns.run('nft', 'add table ip kube-proxy; add chain ip kube-proxy services')
  await until(() => /"finding":"kube-proxy".*kube-proxy has left rules/.test(node.log), 20_000)
  const findings = await node.get<Finding[]>('/v1/findings')
  expect(findings.filter(({ id }) => id === 'kube-proxy').map(({ severity }) => severity)).toEqual(['error'])
  expect(node.running).toBe(true)
  // One that carries packets already goes on where the last one was killed.
  await node.kill()
  await node.start()
  await pod.netns.run('ping', '-c', '1', '-W', '5', (await node.info()).gateways[0]!)
  await node.removePod(pod)
  await node.stop()
  await flush()
})

it('with services off polder leaves Services and their ranges alone, and host ports stay', async () => {
  const kubeProxy: NetnsProcess = node.netns.spawn(program, '600')
  mkdirSync(join(cluster.folder, 'cluster/services/default'), { recursive: true })
  const spec = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] }
  const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec }
  writeFileSync(join(cluster.folder, 'cluster/services/default/web.yaml'), stringify(service))
  rmSync(join(node.stateDir, '../resume'), { force: true })
  await node.start('--services', 'off')
  const runtimeConfig = { portMappings: [{ hostPort: 8088, containerPort: 8080 }] }
  const pod = await node.addPod('pod', { runtimeConfig })
  await serveNamed(pod.netns, 'pod')
  expect((await ask(node.netns, '127.0.0.1', 8088))[0]).toMatch(/^pod /)
  expect(await node.netns.run('ip', 'route')).not.toContain('10.96.')
  expect(await node.netns.run('nft', 'list', 'table', 'inet', 'polder')).not.toContain('nodeports4')
  expect((await node.get<{ status?: object }>('/v1/objects/Service/default/web')).status).toBeUndefined()
  expect((await node.get<Finding[]>('/v1/findings')).map(({ id }) => id)).not.toContain('kube-proxy')
  await node.removePod(pod)
  await kubeProxy.end()
}, 60_000)
