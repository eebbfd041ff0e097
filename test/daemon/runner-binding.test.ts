/** Which node takes which pod: fixed cases, and properties over random clusters. */
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import type { Node, Pod } from '../../daemon/cluster/objects.ts'
import { nodeOf } from '../../daemon/cluster/objects.ts'
import { Binder, chooseNodes, HEARTBEAT_PATIENCE_MS, isReady } from '../../daemon/runner/binding.ts'
import { ClusterFolder, podNamed, until } from '../support/cluster-folder.ts'
import { silentLog } from '../support/log.ts'

const NOW_MS = Date.parse('2026-01-31T12:00:00Z')

function nodeNamed(name: string, ready: 'True' | 'False' = 'True', ageMs = 0, nowMs = NOW_MS): Node {
  const lastHeartbeatTime = new Date(nowMs - ageMs).toISOString()
  const network = { underlayAddress: '192.0.2.1', vtepMac: '02:00:00:00:00:01', mtuBytes: 1450 }
  const status = { addresses: [], conditions: [{ type: 'Ready', status: ready, lastHeartbeatTime }], network }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { podCIDRs: [] }, status }
}

function podOn(name: string, nodeName?: string, phase: NonNullable<Pod['status']>['phase'] = 'Pending'): Pod {
  return { ...podNamed(name), ...(nodeName === undefined ? {} : { status: { nodeName, phase } }) }
}

const choices = (pods: Pod[], nodes: Node[]) =>
  chooseNodes(pods, nodes, NOW_MS).map(({ pod, nodeName }) => `${pod.metadata.name} -> ${nodeName}`)

test('pods are spread, by name', () => {
  const pods = ['b', 'c', 'a'].map((name) => podOn(name))
  expect(choices(pods, [nodeNamed('n2'), nodeNamed('n1')])).toEqual(['a -> n1', 'b -> n2', 'c -> n1'])
})

test('the node with the fewest pods comes first; finished ones do not count', () => {
  const bound = [podOn('x', 'n1'), podOn('y', 'n1'), podOn('z', 'n2'), podOn('done', 'n2', 'Succeeded')]
  expect(choices([...bound, podOn('a'), podOn('b')], [nodeNamed('n1'), nodeNamed('n2')])).toEqual([
    'a -> n2',
    'b -> n1',
  ])
})

test('pods with one host port go to different nodes, and where none is left, to the one with the fewest', () => {
  const spec = { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80, hostPort: 8080 }] }] }
  const published = (name: string): Pod => ({ ...podOn(name), spec })
  const bound = [podOn('x', 'n2'), podOn('y', 'n2')]
  const pods = [...bound, published('a'), published('b'), published('c'), podOn('d')]
  expect(choices(pods, [nodeNamed('n1'), nodeNamed('n2')])).toEqual(['a -> n1', 'b -> n2', 'c -> n1', 'd -> n1'])
})

test('only a node that says so, and lately, is ready', () => {
  const nodes = [nodeNamed('a', 'False'), nodeNamed('b', 'True', HEARTBEAT_PATIENCE_MS), nodeNamed('c', 'True', 39_999)]
  expect(nodes.map((node) => isReady(node, NOW_MS))).toEqual([false, false, true])
  const { status: _status, ...handWritten } = nodeNamed('d')
  expect(isReady(handWritten, NOW_MS)).toBe(false)
  expect(choices([podOn('p')], [...nodes, handWritten])).toEqual(['p -> c'])
  expect(choices([podOn('p')], [])).toEqual([])
})

const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,3}$/), { minLength: 1, maxLength: 6 })
const cluster = fc
  .record({ nodes: names, ready: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }) })
  .chain(({ nodes, ready }) =>
    fc.record({
      nodes: fc.constant(nodes.map((name, index) => nodeNamed(name, ready[index] ? 'True' : 'False'))),
      pods: fc
        .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,4}$/), fc.option(fc.constantFrom(...nodes))), {
          selector: ([name]) => name,
          maxLength: 30,
        })
        .map((pods) => pods.map(([name, nodeName]) => podOn(name, nodeName ?? undefined))),
    }),
  )

test('every pod without a node gets a ready one, whatever the order, and loads stay even', () => {
  fc.assert(
    fc.property(cluster, fc.infiniteStream(fc.nat()), ({ nodes, pods }, order) => {
      const chosen = choices(pods, nodes)
      const ready = nodes.filter((node) => isReady(node, NOW_MS)).map((node) => node.metadata.name)
      const unbound = pods.filter((pod) => nodeOf(pod) === undefined)
      expect(chosen).toHaveLength(ready.length === 0 ? 0 : unbound.length)
      const shuffled = pods.map((pod) => [order.next().value, pod] as const).sort(([a], [b]) => a - b)
      expect(
        choices(
          shuffled.map(([, pod]) => pod),
          nodes.toReversed(),
        ),
      ).toEqual(chosen)

      const before = new Map(ready.map((name) => [name, pods.filter((pod) => nodeOf(pod) === name).length]))
      const after = new Map(before)
      for (const choice of chosen) {
        const nodeName = choice.split(' -> ')[1]!
        expect(ready).toContain(nodeName)
        after.set(nodeName, after.get(nodeName)! + 1)
      }
      // Nobody who got a pod has more than one above anybody else.
      const fewest = Math.min(...after.values())
      for (const [name, count] of after) if (count > before.get(name)!) expect(count - fewest).toBeLessThanOrEqual(1)
    }),
  )
})

let folder: ClusterFolder
afterEach(() => folder?.remove())

test('two nodes on one store: every pod is bound once, evenly', async () => {
  folder = new ClusterFolder()
  const stores = await Promise.all(['n1', 'n2'].map(async (name) => ({ name, store: await folder.open() })))
  for (const { name, store } of stores) {
    await store.claimNode(name)
    await store.putNodeStatus(name, nodeNamed(name, 'True', 0, Date.now()).status!)
  }
  await until(() =>
    stores.every(({ store }) => store.list('Node').filter((node) => isReady(node, Date.now())).length === 2),
  )
  const binders = stores.map(({ name, store }) => new Binder(store, name, silentLog()))
  for (const binder of binders) binder.start()
  const [{ store }] = stores as [(typeof stores)[0]]
  for (let index = 0; index < 8; index++) await store.put(podNamed(`p${index}`))
  await until(() => store.list('Pod').length === 8 && store.list('Pod').every((pod) => nodeOf(pod) !== undefined))
  const onFirst = store.list('Pod').filter((pod) => nodeOf(pod) === 'n1')
  expect(onFirst.length).toBe(4)
  for (const binder of binders) binder.stop()
})
