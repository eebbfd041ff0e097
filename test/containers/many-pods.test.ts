/**
 * Many pods in a lab of this test's own, and of every kind: `ctr run --cni` containers, CRI pods, bare namespaces;
 * beside each other, in parallel, and while daemons are killed. Afterwards the nodes are as before (footprint.ts).
 *
 *   node1 containerd, polderd ═══ VXLAN ═══ node2 containerd, polderd
 *   each with up to 30 pods
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { stringify } from 'yaml'
import { Client } from '../../cli/client.ts'
import { snapshotterOf } from '../../cli/lab/containerd.ts'
import { down } from '../../cli/lab/down.ts'
import { type LabNode, labOf, nodeOf } from '../../cli/lab/lab.ts'
import { polderdOf } from '../../cli/lab/polderd.ts'
import { commandInside, ENVIRONMENT, initOf, runInside } from '../../cli/lab/processes.ts'
import { up } from '../../cli/lab/up.ts'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import type { Pod } from '../../daemon/cluster/objects.ts'
import { runCli } from '../support/cli.ts'
import { differences, type Footprint, footprint, LOST_BY_KILLED_CONTAINERD } from '../support/footprint.ts'

const IMAGE = 'docker.io/library/busybox:latest'
const SETTLE_MS = 40_000

const lab = labOf(`t${process.pid}-many`)
const [node1, node2] = [nodeOf(lab, 1), nodeOf(lab, 2)]
const client = (node: LabNode) => new Client(polderdOf(node).socket)
const labUp = () => up(lab, { nodes: 2, images: true }, () => {})
const inside = (node: LabNode, ...command: string[]) => runInside(node, initOf(node)!, command)

let before: Footprint

beforeAll(labUp)
afterAll(() => down(lab, () => {}))

beforeEach(async () => {
  before = await footprint(lab)
})

/** Awaits that everything is as before the test; what does not come to that is named. */
async function expectAsBefore(ignored = /^$/): Promise<void> {
  const left = async () => differences(before, await footprint(lab)).filter((each) => !ignored.test(each))
  await expect.poll(left, { timeout: SETTLE_MS, interval: 500 }).toEqual([])
}

async function polder(words: string[], stdin = ''): Promise<void> {
  const { code, stderr } = await runCli(words, { stdin, env: { POLDER_LAB: lab.name } })
  expect(stderr).toBe('')
  expect(code).toBe(0)
}

/** As process 1 of its container `sleep` takes no SIGTERM: without any grace the pods end at once. */
function podOf(name: string, nodeName?: string): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['sleep', '1000000'] }],
    },
  }
}

const manifest = (pods: Pod[]) => pods.map((pod) => stringify(pod)).join('---\n')
const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}${index}`)
const attachmentOf = (attachments: Attachment[], id: string) =>
  attachments.find((each) => each.containerId === id || each.pod?.name === id)!

/** Pings every address from a pod, all at once; those that did not answer within 10 s. */
async function unreachable(node: LabNode, from: Attachment, addresses: string[]): Promise<string[]> {
  const script = 'for a; do ping -q -c 1 -w 10 $a >/dev/null 2>&1 || echo $a & done; wait'
  const silent = await inside(node, 'nsenter', `--net=${from.netns}`, 'sh', '-c', script, 'sh', ...addresses)
  return silent.split('\n').filter(Boolean)
}

/** `ctr run` stays until the container ends, and only then calls CNI DEL: with an empty CNI_NETNS. */
async function startCtr(node: LabNode, name: string): Promise<ChildProcess> {
  const options = ['--cni', '--rm', '--snapshotter', await snapshotterOf(node)]
  const command = ['ctr', '-n', 'k8s.io', 'run', ...options, IMAGE, name, 'sleep', '1000000']
  const [program, ...args] = commandInside(node, initOf(node)!, command) as [string, ...string[]]
  return spawn(program, args, { stdio: 'ignore', env: ENVIRONMENT })
}

test('containers of ctr, CRI pods and bare namespaces of one node reach each other', async () => {
  const [ctr, cri, bare] = ['ctr', 'cri', 'bare'].map((prefix) => numbered(prefix, 3)) as [string[], string[], string[]]
  const running = await Promise.all(ctr.map((name) => startCtr(node1, name)))
  await Promise.all([
    polder(['apply', '-f', '-'], manifest(cri.map((name) => podOf(name, 'node1')))),
    polder(['netns', 'create', '--node', 'node1', ...bare]),
  ])
  await polder(['wait', '--for=condition=Ready', 'pod', ...cri, '--timeout=60s'])
  const attachments = await vi.waitUntil(
    async () => {
      const all = await client(node1).attachments()
      return all.length === 9 && all
    },
    { timeout: 20_000 },
  )
  const addresses = attachments.flatMap((each) => each.addresses)
  expect(new Set(addresses).size).toBe(18)
  for (const from of [...ctr.map((name) => `k8s.io-${name}`), ...cri, ...bare]) {
    expect(await unreachable(node1, attachmentOf(attachments, from), addresses)).toEqual([])
  }
  const ends = running.map((child) => once(child, 'exit'))
  await Promise.all([
    ...ctr.map((name) => inside(node1, 'ctr', '-n', 'k8s.io', 'tasks', 'kill', '-s', 'SIGKILL', name)),
    polder(['delete', 'pod', ...cri]),
    polder(['netns', 'delete', ...bare]),
  ])
  expect(await Promise.all(ends)).toEqual(ctr.map(() => [137, null]))
  await expectAsBefore()
}, 90_000)

test('60 pods in parallel on two nodes', async () => {
  const names = numbered('many', 60)
  await polder(['apply', '-f', '-'], manifest(names.map((name) => podOf(name))))
  await polder(['wait', '--for=condition=Ready', 'pod', ...names, '--timeout=90s'])
  const pods = await client(node1).list('Pod')
  const addresses = pods.flatMap((pod) => pod.status!.podIPs!.map(({ ip }) => ip))
  expect(addresses).toHaveLength(120)
  expect(new Set(addresses).size).toBe(120)
  for (const node of [node1, node2]) {
    const attachments = await client(node).attachments()
    expect(attachments).toHaveLength(30)
    expect(await unreachable(node, attachments[0]!, addresses)).toEqual([])
  }
  await polder(['delete', 'pod', ...names, '--timeout=60s'])
  await expectAsBefore()
}, 150_000)

/**
 * Looks again and again, without a process of its own for it, and kills as soon as a record came or went. A process that
 * is killed still answers on its socket until its end has come.
 */
const KILL_AMIDST = `cd /var/lib/polder/attachments; pid=$1; set -- *.json; seen="$*"
while [ "$*" = "$seen" ]; do set -- *.json; done; kill -9 $pid; while [ -e /proc/$pid ]; do sleep 0.01; done`

/** Kills a daemon in the very moment in which an attachment of its node comes or goes, and starts it again. */
async function killAmidst(node: LabNode, daemon: 'containerd' | 'polderd'): Promise<void> {
  const pid =
    daemon === 'polderd' ? (await client(node).node()).pid : await inside(node, 'pgrep', '-o', '-x', 'containerd')
  await inside(node, 'timeout', '30', 'sh', '-c', KILL_AMIDST, 'sh', String(pid).trim())
  await labUp()
}

test('20 pods come and go while containerd is killed twice and polderd once', async () => {
  let ending = false
  /** The store of node2, whose daemons live, takes the orders. */
  const comeAndGo = async (name: string): Promise<number> => {
    let rounds = 0
    for (; !ending; rounds++) {
      await client(node2).put(podOf(name))
      await vi.waitUntil(
        async () => ending || (await client(node2).get('Pod', name, 'default')).status?.phase === 'Running',
        { timeout: 60_000, interval: 200 },
      )
      await client(node2).delete({ kind: 'Pod', namespace: 'default', name }, { wait: 10 })
    }
    return rounds
  }
  const lanes = Promise.all(numbered('brief', 20).map(comeAndGo))
  const kills = (async () => {
    for (const daemon of ['containerd', 'polderd', 'containerd'] as const) {
      await killAmidst(node1, daemon)
      // Some pods between two kills.
      await delay(2_000)
    }
  })().finally(() => {
    ending = true
  })
  const [rounds] = await Promise.all([lanes, kills])
  expect(Math.min(...rounds)).toBeGreaterThan(0)
  await expectAsBefore(LOST_BY_KILLED_CONTAINERD)
}, 150_000)
