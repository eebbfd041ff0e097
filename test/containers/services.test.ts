/**
 * A Service in a lab, before real containers: the manifests of examples/service.yaml, by labels, readiness and a named
 * port; all three endpoints away, and back.
 *
 *   client ─ node1 containerd, polderd ═══ VXLAN ═══ node2 containerd, polderd      backend1..3 wherever they are put
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { Client } from '../../cli/client.ts'
import { down } from '../../cli/lab/down.ts'
import { CHECKOUT, labOf, nodeOf } from '../../cli/lab/lab.ts'
import { polderdOf } from '../../cli/lab/polderd.ts'
import { initOf, runInside } from '../../cli/lab/processes.ts'
import { up } from '../../cli/lab/up.ts'
import { runCli } from '../support/cli.ts'
import { until } from '../support/netns.ts'

const lab = labOf(`t${process.pid}-services`)
const nodes = [nodeOf(lab, 1), nodeOf(lab, 2)]
const EXAMPLE = join(CHECKOUT, 'examples/service.yaml')
const BACKENDS = ['backend1', 'backend2', 'backend3']

let addresses: string[] = []

async function polder(words: string[], stdin = ''): Promise<string> {
  const { code, stdout, stderr } = await runCli(words, { stdin, env: { POLDER_LAB: lab.name } })
  expect([stderr, code]).toEqual(['', 0])
  return stdout
}

const urlOf = (address: string): string => `http://${address.includes(':') ? `[${address}]` : address}/`
/** What it prints of so many requests, one after the other. */
const requests = (address: string, times: number): string[] => {
  const ask = `timeout 5 wget -qO- ${urlOf(address)} 2>&1`
  return ['sh', '-c', `i=0; while [ $i -lt ${times} ]; do ${ask}; i=$((i + 1)); done`]
}
const names = (text: string): string[] => [...new Set(text.trim().split('\n'))].sort()
const fromPod = (address: string, times: number): Promise<string> =>
  polder(['exec', 'client', '--', ...requests(address, times)])

beforeAll(async () => {
  await up(lab, { nodes: 2, images: true }, () => {})
  const client = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'client' },
    spec: {
      nodeName: 'node1',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['sleep', '1000000'] }],
    },
  }
  await polder(['apply', '-f', '-'], stringify(client))
  await polder(['apply', '-f', EXAMPLE])
  await polder(['wait', '--for=condition=Ready', 'pod', 'client', ...BACKENDS, '--timeout=60s'])
  const service = await new Client(polderdOf(nodes[0]!).socket).get('Service', 'backend', 'default')
  addresses = service.spec.clusterIPs!
}, 120_000)
afterAll(() => down(lab, () => {}))

it('is served by all of its pods, to a pod and to both nodes, over both families', async () => {
  expect(addresses).toHaveLength(2)
  for (const address of addresses) {
    await until(async () => names(await fromPod(address, 20)).join() === BACKENDS.join(), 20_000)
    for (const node of nodes) {
      const command = ['busybox', ...requests(address, 20).map((word) => word.replaceAll('wget', 'busybox wget'))]
      expect(names(await runInside(node, initOf(node)!, command))).toEqual(BACKENDS)
    }
  }
}, 60_000)

it('says who is behind it', async () => {
  const text = await polder(['describe', 'service', 'backend'])
  expect(text.match(/:8080 ready on node[12]/g)).toHaveLength(6)
  expect(await polder(['get', 'svc'])).toMatch(
    /^backend +ClusterIP +10\.96\.\d+\.\d+,fd00:10:96::\w+ +<none> +80\/TCP +Accepted/m,
  )
})

it('without its pods refuses at once, and with them serves again', async () => {
  await polder(['delete', 'pod', ...BACKENDS])
  for (const address of addresses) expect(await fromPod(address, 1).catch(String)).toMatch(/refused/)
  await polder(['apply', '-f', EXAMPLE])
  await polder(['wait', '--for=condition=Ready', 'pod', ...BACKENDS, '--timeout=60s'])
  for (const address of addresses)
    await until(async () => names(await fromPod(address, 20)).join() === BACKENDS.join(), 20_000)
}, 90_000)
