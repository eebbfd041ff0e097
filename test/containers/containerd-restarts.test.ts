/**
 * Connections between containers of two nodes while containerd is killed and started again: it is not in the way of a
 * packet. The traffic is that of netns/steady.test.ts, in the network namespaces of the pods.
 *
 *   alice ─ node1 containerd, polderd ═══ VXLAN ═══ node2 containerd, polderd ─ bob
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { Client } from '../../cli/client.ts'
import { down } from '../../cli/lab/down.ts'
import { type LabNode, labOf, nodeOf } from '../../cli/lab/lab.ts'
import { polderdOf } from '../../cli/lab/polderd.ts'
import { commandInside, initOf, runInside } from '../../cli/lab/processes.ts'
import { up } from '../../cli/lab/up.ts'
import { runCli } from '../support/cli.ts'
import { observed, tableOf } from '../support/observation.ts'
import { type Site, Traffic } from '../support/traffic.ts'

const TIMES = process.env['TEST_POLDER_FULL'] === '1' ? 10 : 2
const PLAN = {
  bulkMbit: 100,
  connections: 1000,
  requestIntervalMs: 250,
  datagramsPerSecond: 1000,
  datagramBytes: 200,
  family: 'v4',
} as const

const lab = labOf(`t${process.pid}-restarts`)
const nodes = [nodeOf(lab, 1), nodeOf(lab, 2)]
const labUp = () => up(lab, { nodes: 2, images: true }, () => {})

beforeAll(labUp)
afterAll(() => down(lab, () => {}))

async function polder(words: string[], stdin = ''): Promise<void> {
  const { code, stderr } = await runCli(words, { stdin, env: { POLDER_LAB: lab.name } })
  expect(stderr).toBe('')
  expect(code).toBe(0)
}

async function siteOf(node: LabNode, name: string): Promise<Site> {
  const attachments = await new Client(polderdOf(node).socket).attachments()
  const { netns, addresses } = attachments.find(({ pod }) => pod?.name === name)!
  const [v4, v6] = addresses
  return { netns: { enter: commandInside(node, initOf(node)!, ['nsenter', `--net=${netns}`]) }, v4: v4!, v6: v6! }
}

it(`no connection is lost while each containerd is killed ${TIMES} times`, { timeout: 300_000 }, async () => {
  const pod = (name: string, nodeName: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['sleep', '1000000'] }],
    },
  })
  const manifest = [pod('alice', 'node1'), pod('bob', 'node2')].map((one) => stringify(one)).join('---\n')
  await polder(['apply', '-f', '-'], manifest)
  await polder(['wait', '--for=condition=Ready', 'pod', 'alice', 'bob', '--timeout=60s'])
  const [alice, bob] = await Promise.all([siteOf(nodes[0]!, 'alice'), siteOf(nodes[1]!, 'bob')])
  await using traffic = await Traffic.start(alice, bob, PLAN)
  const seen = await observed(traffic, async () => {
    for (let i = 0; i < TIMES; i++) {
      for (const node of nodes) {
        await runInside(node, initOf(node)!, ['sh', '-c', 'kill -9 $(pidof containerd)'])
        await labUp()
      }
    }
  })
  await polder(['wait', '--for=condition=Ready', 'pod', 'alice', 'bob', '--timeout=60s'])
  const { bulk, bulkSent, steady, numbered, sent } = await traffic.finish()
  console.log(
    tableOf([
      {
        event: 'containerd killed',
        times: TIMES * nodes.length,
        'longest stall ms': seen.stallMs,
        'UDP sent': sent.sent,
        lost: sent.sent - numbered.received,
      },
    ]),
  )
  expect(steady).toMatchObject({ connections: PLAN.connections, lost: 0, changed: 0 })
  expect(bulk).toMatchObject({ end: 'clean', bytes: bulkSent.bytes, hash: bulkSent.hash })
  expect([numbered.changed, numbered.duplicates]).toEqual([0, 0])
})
