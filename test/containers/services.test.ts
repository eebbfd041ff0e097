/**
 * A Service in a lab, before real containers: the manifests of examples/service.yaml, by labels, readiness and a named
 * port; replaced one by one while requests keep coming; all three endpoints away, and back. Its pods wait 2 s before they
 * stop, 5 s with TEST_POLDER_FULL=1.
 *
 *   clients ─ node1 containerd, polderd ═══ VXLAN ═══ node2 containerd, polderd ─ load    backend1..3 on both
 */
import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { Client } from '../../cli/client.ts'
import { down } from '../../cli/lab/down.ts'
import { CHECKOUT, labOf, nodeOf } from '../../cli/lab/lab.ts'
import { polderdOf } from '../../cli/lab/polderd.ts'
import { commandInside, initOf, runInside } from '../../cli/lab/processes.ts'
import { up } from '../../cli/lab/up.ts'
import { runCli } from '../support/cli.ts'
import { LineProgram } from '../support/line-program.ts'
import { until } from '../support/netns.ts'
import type { LoadReport } from '../support/request-load.ts'

const lab = labOf(`t${process.pid}-services`)
const nodes = [nodeOf(lab, 1), nodeOf(lab, 2)]
const STOP_WAIT_SECONDS = process.env['TEST_POLDER_FULL'] === '1' ? 5 : 2
const EXAMPLE = readFileSync(join(CHECKOUT, 'examples/service.yaml'), 'utf8').replaceAll(
  ' seconds: 5',
  ` seconds: ${STOP_WAIT_SECONDS}`,
)
const LOAD = join(CHECKOUT, 'test/support/request-load.ts')
const REQUESTS_PER_SECOND = 200
const BACKENDS = ['backend1', 'backend2', 'backend3']

let addresses: string[] = []

async function polder(words: string[], stdin = ''): Promise<string> {
  const { code, stdout, stderr } = await runCli(words, { stdin, env: { POLDER_LAB: lab.name } })
  expect([stderr, code]).toEqual(['', 0])
  return stdout
}

const urlOf = (address: string): string => `http://${isIPv6(address) ? `[${address}]` : address}/`
/** What it prints of so many requests, one after the other. */
const requests = (address: string, times: number): string[] => {
  const ask = `timeout 5 wget -qO- ${urlOf(address)} 2>&1`
  return ['sh', '-c', `i=0; while [ $i -lt ${times} ]; do ${ask}; i=$((i + 1)); done`]
}
const names = (text: string): string[] => [...new Set(text.trim().split('\n'))].sort()
const askFromPod = (address: string, times: number): Promise<string> =>
  polder(['exec', 'client', '--', ...requests(address, times)])

/** Keeps asking from node1 itself, or from the bare pod `load` on node2. */
async function startLoad(from: 'node1' | 'load', address: string): Promise<LineProgram> {
  const node = nodes[from === 'node1' ? 0 : 1]!
  const command = [process.execPath, LOAD, urlOf(address), String(REQUESTS_PER_SECOND / 2)]
  const inPod = from === 'load' ? ['ip', 'netns', 'exec', 'load'] : []
  return LineProgram.start({ enter: [] }, ...commandInside(node, initOf(node)!, [...inPod, ...command]))
}

async function reportsOf(loads: LineProgram[]): Promise<LoadReport[]> {
  return Promise.all(loads.map(async (load) => JSON.parse(await load.ask('report')) as LoadReport))
}

async function ready(...pods: string[]): Promise<void> {
  await polder(['wait', '--for=condition=Ready', 'pod', ...pods, '--timeout=60s'])
}

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
  await polder(['apply', '-f', '-'], EXAMPLE)
  await polder(['netns', 'create', 'load', '--node', 'node2'])
  await ready('client', ...BACKENDS)
  const service = await new Client(polderdOf(nodes[0]!).socket).get('Service', 'backend', 'default')
  addresses = service.spec.clusterIPs!
}, 120_000)
afterAll(() => down(lab, () => {}))

it('is served by all of its pods, to a pod and to both nodes, over both families', async () => {
  expect(addresses).toHaveLength(2)
  for (const address of addresses) {
    await until(async () => names(await askFromPod(address, 20)).join() === BACKENDS.join(), 20_000)
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

it('its pods are probed over the network, and say what was found', async () => {
  for (const name of BACKENDS) {
    expect(await polder(['describe', 'pod', name])).toMatch(
      /Readiness: +http-get http:\/\/:http\/ delay=0s .* period=1s/,
    )
  }
  const address = (await new Client(polderdOf(nodes[0]!).socket).get('Pod', 'load', 'default')).status!.podIPs![1]!.ip
  const pod = (name: string, probe: object) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName: 'node2',
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: 'busybox',
          imagePullPolicy: 'IfNotPresent',
          command: ['httpd', '-f', '-p', '8080'],
          readinessProbe: { periodSeconds: 1, failureThreshold: 1, ...probe },
        },
      ],
    },
  })
  await polder(['apply', '-f', '-'], stringify(pod('open', { tcpSocket: { port: 8080 } })))
  await polder(['apply', '-f', '-'], stringify(pod('shut', { tcpSocket: { port: 8081, host: address } })))
  await ready('open')
  const found = `[${address}]:8081: connection refused`
  await until(async () => (await polder(['describe', 'pod', 'shut'])).includes(found), 20_000)
  expect(await polder(['get', 'pods', 'shut'])).toMatch(/^shut +0\/1 +Running/m)
  await polder(['delete', 'pod', 'open', 'shut'])
}, 60_000)

it('its pods are replaced one by one, and not one request fails', async () => {
  await using fromPod = await startLoad('load', addresses[0]!)
  await using fromNode = await startLoad('node1', addresses[1]!)
  for (const name of BACKENDS) {
    const uid = () => polder(['get', 'pod', name, '-o', 'json']).then((text) => JSON.parse(text).metadata.uid as string)
    const before = await uid()
    await polder(['delete', 'pod', name, '--no-wait'])
    expect(await polder(['get', 'pods'])).toMatch(new RegExp(`^${name} +1/1 +Terminating`, 'm'))
    expect(await polder(['describe', 'service', 'backend'])).toContain('terminating, still serving')
    await polder(['wait', '--for=delete', `pod/${name}`, '--timeout=30s'])
    await polder(['apply', '-f', '-'], EXAMPLE)
    await ready(name)
    expect(await uid()).not.toBe(before)
  }
  for (const { answers, failures } of await reportsOf([fromPod, fromNode])) {
    expect(failures).toEqual({})
    expect(Object.keys(answers).sort()).toEqual(BACKENDS)
  }
}, 180_000)

it('without its pods refuses at once, and with them serves again, under load', async () => {
  await using fromPod = await startLoad('load', addresses[1]!)
  await using fromNode = await startLoad('node1', addresses[0]!)
  const loads = [fromPod, fromNode]
  await polder(['delete', 'pod', ...BACKENDS])
  await until(async () => (await polder(['describe', 'service', 'backend'])).includes('no endpoints'), 10_000)
  for (const address of addresses) expect(await askFromPod(address, 1).catch(String)).toMatch(/refused/)
  await reportsOf(loads)
  await askFromPod(addresses[0]!, 5).catch(String)
  for (const { answers, failures } of await reportsOf(loads)) {
    expect(answers).toEqual({})
    expect(Object.keys(failures)).toEqual(['ECONNREFUSED'])
  }
  await polder(['apply', '-f', '-'], EXAMPLE)
  await ready(...BACKENDS)
  for (const address of addresses)
    await until(async () => names(await askFromPod(address, 20)).join() === BACKENDS.join(), 20_000)
  await until(async () => (await reportsOf(loads)).every(({ failures }) => Object.keys(failures).length === 0), 20_000)
}, 120_000)

it('the last pods serve on while they end', async () => {
  await using fromPod = await startLoad('load', addresses[1]!)
  await polder(['delete', 'pod', ...BACKENDS, '--no-wait', '--grace-period=60'])
  const [report] = await reportsOf([fromPod])
  expect(await polder(['get', 'pods'])).toMatch(/^backend1 +1\/1 +Terminating/m)
  expect(report!.failures).toEqual({})
  expect(Object.keys(report!.answers).length).toBeGreaterThan(0)
  await polder(['wait', '--for=delete', ...BACKENDS.map((name) => `pod/${name}`), '--timeout=60s'])
}, 90_000)

it('a host port leads to its container, on each node to its own; a third pod is told whose it is', async () => {
  const published = (name: string): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'web',
          image: 'busybox',
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', 'mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www'],
          ports: [{ containerPort: 8080, hostPort: 8088 }],
        },
      ],
    },
  })
  await polder(['apply', '-f', '-'], ['one', 'two'].map((name) => stringify(published(name))).join('---\n'))
  await polder(['wait', '--for=condition=Ready', 'pod', 'one', 'two', '--timeout=60s'])
  const list = await new Client(polderdOf(nodes[0]!).socket).list('Node')
  for (const { metadata, status } of list) {
    const address = `${status!.network.underlayAddress}:8088`
    await until(async () => /^(one|two)$/.test((await askFromPod(address, 1)).trim()), 20_000)
    const node = nodes.find(({ name }) => name === metadata.name)!
    const command = ['busybox', ...requests(address, 5).map((word) => word.replaceAll('wget', 'busybox wget'))]
    expect(await runInside(node, initOf(node)!, command)).toBe(await askFromPod(address, 5))
  }
  await polder(['apply', '-f', '-'], stringify(published('three')))
  const said = /host port 8088\/TCP is taken: pod default\/(one|two) has 8088\/TCP/
  await until(async () => said.test(await polder(['describe', 'pod', 'three'])), 20_000)
  await polder(['delete', 'pod', 'one', 'two', 'three'])
}, 90_000)
