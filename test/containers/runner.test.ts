/**
 * The whole runner: a folder store, the binder and the reconciler on a real containerd (test/support/containerd.ts).
 * What is written into the store runs; what is deleted ends; a new polderd takes everything over.
 */
import { readdirSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import { nodeOf, type Pod } from '../../daemon/cluster/objects.ts'
import { Binder } from '../../daemon/runner/binding.ts'
import { CriRuntime } from '../../daemon/runner/cri/cri-runtime.ts'
import { Reconciler } from '../../daemon/runner/reconcile.ts'
import { ClusterFolder } from '../support/cluster-folder.ts'
import { startContainerd, type TestContainerd } from '../support/containerd.ts'
import { silentLog } from '../support/log.ts'
import { forever, logsOf, podOf } from '../support/pods.ts'
import { until } from '../support/until.ts'

let containerd: TestContainerd
let folder: ClusterFolder
let store: FolderStore
let runtime: CriRuntime
let runner: { stop(): Promise<void> }

beforeAll(async () => {
  containerd = await startContainerd()
})

afterAll(() => containerd.stop())

beforeEach(async () => {
  folder = new ClusterFolder()
  store = await folder.open()
  await store.claimNode('n1')
  const conditions = [{ type: 'Ready', status: 'True' as const, lastHeartbeatTime: new Date().toISOString() }]
  const network = { underlayAddress: '192.0.2.1', vtepMac: '02:00:00:00:00:01', mtuBytes: 1450 }
  await store.putNodeStatus('n1', { addresses: [], conditions, network })
  runner = start()
})

afterEach(async () => {
  await runner.stop()
  const held = start()
  for (const { metadata } of store.list('Pod')) await remove(metadata.name)
  await until(() => readdirSync(`${containerd.folder}/logs`).length === 0)
  expect(await runtime.list()).toEqual([])
  await held.stop()
  await folder.remove()
})

function start(): { stop(): Promise<void> } {
  runtime = new CriRuntime({
    containerdSocket: containerd.socket,
    execDir: `${containerd.folder}/exec`,
    facts: { nodeName: 'n1', hostIPs: ['192.0.2.1'], logRoot: `${containerd.folder}/logs` },
  })
  const own = runtime
  const log = silentLog()
  const reconciler = new Reconciler({ store, nodeName: 'n1', containers: own, namespaces: own, log })
  const binder = new Binder(store, 'n1', log)
  reconciler.start()
  binder.start()
  return {
    stop: async () => {
      binder.stop()
      await reconciler.stop()
      own.close()
    },
  }
}

const remove = (name: string) => store.delete({ kind: 'Pod', name, namespace: 'default' })
const statusOf = (name: string) => store.get('Pod', name, 'default')?.status
const isReady = (name: string) =>
  statusOf(name)?.conditions?.find((condition) => condition.type === 'Ready')?.status === 'True'

test('a pod is bound, run, shown, and gone when it is deleted', async () => {
  await store.put(podOf('web', [{ image: 'nginx' }]))
  await until(() => isReady('web'))
  expect(nodeOf(store.get('Pod', 'web', 'default')!)).toBe('n1')
  expect(statusOf('web')).toMatchObject({ phase: 'Running', podIPs: [{}, {}], hostIP: '192.0.2.1' })
  await remove('web')
  await until(() => readdirSync(`${containerd.folder}/logs`).length === 0)
  expect(await runtime.list()).toEqual([])
})

test('a container that ends is seen and started again', async () => {
  await store.put(podOf('blink', [{ command: ['sh', '-c', 'sleep 1'] }]))
  await until(() => statusOf('blink')?.containerStatuses?.[0]?.restartCount === 1)
  await until(() => statusOf('blink')?.containerStatuses?.[0]?.state.waiting?.reason === 'CrashLoopBackOff')
})

test('pods outlive polderd, and the next one goes on with them', async () => {
  await Promise.all(['one', 'two'].map((name) => store.put(podOf(name, [forever(`echo ${name}`)]))))
  await until(() => isReady('one') && isReady('two'))
  const before = await runtime.list()
  await runner.stop()
  await remove('two')
  runner = start()
  expect((await runtime.list()).length).toBe(2)
  await until(() => readdirSync(`${containerd.folder}/logs`).length === 1)
  const after = await runtime.list()
  expect(after).toEqual(before.filter(({ name }) => name === 'one'))
  expect(await logsOf(runtime, store.get('Pod', 'one', 'default')!)).toBe('one\n')
})

test('deleted and applied again at once: the new one runs, once the old one is gone', async () => {
  await store.put(podOf('again', [forever('echo old')]))
  await until(() => isReady('again'))
  const old = store.get('Pod', 'again', 'default')!
  await remove('again')
  const fresh: Pod = podOf('again', [forever('echo new')])
  fresh.metadata.uid = 'a-new-uid'
  await store.put(fresh)
  await until(() => isReady('again'))
  const held = await runtime.list()
  expect(held).toHaveLength(1)
  expect(held[0]!.uid).not.toBe(old.metadata.uid)
  expect(await logsOf(runtime, store.get('Pod', 'again', 'default')!)).toBe('new\n')
})

test('20 pods at once', async () => {
  const names = Array.from({ length: 20 }, (_value, index) => `p${index}`)
  await Promise.all(names.map((name) => store.put(podOf(name, [forever()]))))
  await until(() => names.every(isReady))
  const addresses = names.map((name) => statusOf(name)!.podIP)
  expect(new Set(addresses).size).toBe(20)
})
