/**
 * The reconciler between a real folder store and a runtime whose pods are entries of a table: what it does when, and
 * what it says in statuses. Real containers: test/containers/runner*.test.ts.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { HeldPod, PodRuntime } from '../../daemon/runner/pod-runtime.ts'
import { Reconciler } from '../../daemon/runner/reconcile.ts'
import { ClusterFolder, podNamed, podText, until } from '../support/cluster-folder.ts'
import { keptLog } from '../support/log.ts'

class TableRuntime implements PodRuntime {
  readonly pods = new Map<string, HeldPod>()
  readonly calls: string[] = []
  /** How each call to `ensure` ends, by pod name; default: running. */
  readonly ends = new Map<string, () => Promise<PodStatus> | PodStatus>()
  down = false
  under = 0
  underMax = 0

  async ensure(pod: Pod): Promise<PodStatus> {
    const { name, namespace } = pod.metadata
    this.calls.push(`ensure ${name}`)
    this.underMax = Math.max(this.underMax, ++this.under)
    try {
      await new Promise(setImmediate)
      if (this.down) throw new PolderError('containerd-unreachable', 'Nobody answers.', 'Start it.')
      const status = (await this.ends.get(name)?.()) ?? running
      if (!this.pods.has(name)) this.pods.set(name, { namespace: namespace!, name, fingerprint: 'up' })
      return status
    } finally {
      this.under--
    }
  }

  async terminate({ metadata: { name } }: Pod, _report: (status: PodStatus) => void): Promise<void> {
    this.calls.push(`terminate ${name}`)
  }

  async remove({ name }: { name: string }): Promise<void> {
    this.calls.push(`remove ${name}`)
    this.pods.delete(name)
  }

  async list(): Promise<HeldPod[]> {
    if (this.down) throw new PolderError('containerd-unreachable', 'Nobody answers.', 'Start it.')
    return [...this.pods.values()].map((pod) => ({ ...pod }))
  }

  async exec(): Promise<number> {
    throw new Error('not asked for')
  }

  async logs(): Promise<void> {}

  count(call: string): number {
    return this.calls.filter((made) => made === call).length
  }
}

const running: PodStatus = { nodeName: 'n1', phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }
const started: PodStatus = { ...running, startTime: '2026-01-31T12:00:00Z' }
const pending: PodStatus = { nodeName: 'n1', phase: 'Pending', reason: 'Waits', message: 'for a while' }

let folder: ClusterFolder
let store: FolderStore
let runtime: TableRuntime
let namespaces: TableRuntime
let lines: string[]
let reconciler: Reconciler

beforeEach(async () => {
  folder = new ClusterFolder()
  store = await folder.open()
  runtime = new TableRuntime()
  namespaces = new TableRuntime()
  lines = []
  reconciler = newReconciler()
})

afterEach(async () => {
  await reconciler.stop()
  await folder.remove()
})

function newReconciler(): Reconciler {
  return new Reconciler({ store, nodeName: 'n1', containers: runtime, namespaces, log: keptLog(lines) })
}

function boundPod(name: string, nodeName = 'n1'): Pod {
  const pod = podNamed(name)
  return { ...pod, spec: { ...pod.spec, nodeName } }
}

const statusOf = (name: string) => store.get('Pod', name, 'default')?.status

test('runs the pods of this node, by the runtime of their class, and no others', async () => {
  reconciler.start()
  await store.put(boundPod('mine'))
  await store.put(boundPod('other', 'n2'))
  await store.put(podNamed('unbound'))
  const bare = boundPod('bare')
  await store.put({ ...bare, spec: { nodeName: 'n1', containers: [], runtimeClassName: 'netns' } })
  await until(() => statusOf('mine')?.phase === 'Running' && statusOf('bare')?.phase === 'Running')
  expect([...runtime.pods.keys()]).toEqual(['mine'])
  expect([...namespaces.pods.keys()]).toEqual(['bare'])
})

test('a deleted pod is removed; so is what no store knows', async () => {
  runtime.pods.set('stray', { namespace: 'default', name: 'stray', fingerprint: '' })
  reconciler.start()
  await store.put(boundPod('mine'))
  await until(() => runtime.pods.has('mine') && !runtime.pods.has('stray'))
  await store.delete({ kind: 'Pod', name: 'mine', namespace: 'default' })
  await until(() => runtime.pods.size === 0)
})

test('a pod that runs is ended, then removed, then said to be gone; the next of its name waits for that', async () => {
  const asked: string[] = []
  let end = () => {}
  runtime.terminate = async (pod, report) => {
    asked.push(pod.metadata.deletionTimestamp!)
    if (asked.length > 1) return
    report({ ...started, reason: 'Ends' })
    await new Promise<void>((resolve) => {
      end = resolve
    })
  }
  runtime.ends.set('mine', () => started)
  reconciler.start()
  await store.put(boundPod('mine'))
  await until(() => statusOf('mine')?.phase === 'Running')
  await store.delete({ kind: 'Pod', name: 'mine', namespace: 'default' }, { graceSeconds: 60 })
  await until(() => statusOf('mine')?.reason === 'Ends')
  await store.delete({ kind: 'Pod', name: 'mine', namespace: 'default' }, { graceSeconds: 6 })
  await until(() => asked.length === 2)
  expect(Date.parse(asked[0]!) - Date.parse(asked[1]!)).toBe(54_000)
  await store.put(boundPod('mine'))
  const calls = runtime.count('ensure mine')
  await until(() => store.list('Pod').length === 2)
  expect(runtime.count('remove mine')).toBe(0)
  end()
  await until(() => runtime.count('ensure mine') > calls)
  expect(runtime.calls.lastIndexOf('remove mine')).toBeLessThan(runtime.calls.lastIndexOf('ensure mine'))
  expect(store.list('Pod')).toHaveLength(1)
})

test('what a polderd left ending, the next one ends; what fails is tried again', async () => {
  await store.put(boundPod('mine'))
  await store.putPodStatus(store.get('Pod', 'mine', 'default')!, started)
  await store.delete({ kind: 'Pod', name: 'mine', namespace: 'default' })
  runtime.pods.set('mine', { namespace: 'default', name: 'mine', fingerprint: 'up' })
  let failures = 2
  runtime.terminate = async () => {
    if (failures-- > 0) throw new Error('not now')
  }
  reconciler.start()
  await until(() => store.list('Pod').length === 0)
  expect(runtime.pods.size).toBe(0)
  expect(failures).toBe(-1)
})

test('what may belong to a file that cannot be read is not removed', async () => {
  runtime.pods.set('broken', { namespace: 'default', name: 'broken', fingerprint: '' })
  folder.write('pods/default/broken.yaml', 'kind: {')
  await until(() => store.problems().length > 0)
  reconciler.start()
  await store.put(boundPod('known'))
  await until(() => runtime.pods.has('known'))
  await store.delete({ kind: 'Pod', name: 'known', namespace: 'default' })
  await until(() => !runtime.pods.has('known'))
  expect(runtime.calls).not.toContain('remove broken')
  folder.write('pods/default/broken.yaml', podText('broken').replace('spec:\n', 'spec:\n  nodeName: n1\n'))
  await until(() => statusOf('broken')?.phase === 'Running')
})

test('a settled pod is left alone until it, or what is held of it, changes', async () => {
  reconciler.start()
  await store.put(boundPod('calm'))
  await store.put(boundPod('restless'))
  runtime.ends.set('restless', () => pending)
  await until(() => runtime.count('ensure restless') >= 4)
  const calls = runtime.count('ensure calm')
  expect(calls).toBeLessThanOrEqual(2)
  runtime.pods.get('calm')!.fingerprint = 'its container ended'
  await until(() => runtime.count('ensure calm') === calls + 1)
})

test('the status is written only when it changed', async () => {
  const puts = vi.spyOn(store, 'putPodStatus')
  reconciler.start()
  await store.put(boundPod('mine'))
  runtime.ends.set('mine', () => pending)
  await until(() => runtime.count('ensure mine') >= 3)
  expect(puts).toHaveBeenCalledTimes(1)
  runtime.ends.delete('mine')
  await until(() => statusOf('mine')?.phase === 'Running')
  expect(statusOf('mine')).toEqual(running)
  expect(puts).toHaveBeenCalledTimes(2)
})

test('one pod that fails stops no other; its status and one log line say why', async () => {
  runtime.ends.set('bad', () => {
    throw new PolderError('no-address-left', 'All addresses are taken.', 'Delete a pod.')
  })
  reconciler.start()
  await store.put(boundPod('bad'))
  await store.put(boundPod('good'))
  await until(() => statusOf('good')?.phase === 'Running' && runtime.count('ensure bad') >= 3)
  expect(statusOf('bad')).toMatchObject({
    phase: 'Pending',
    reason: 'NoAddressLeft',
    message: 'All addresses are taken. Delete a pod.',
  })
  expect(lines.filter((line) => line.includes('All addresses are taken'))).toHaveLength(1)
})

test('while the runtime does not answer, running pods stay as they are and new ones are told', async () => {
  reconciler.start()
  await store.put(boundPod('old'))
  await until(() => statusOf('old')?.phase === 'Running')
  await until(() => runtime.count('ensure old') === 2)
  runtime.down = true
  await store.put(boundPod('new'))
  await until(() => statusOf('new')?.reason === 'ContainerdUnreachable')
  expect(statusOf('old')).toEqual(running)
  runtime.down = false
  await until(() => statusOf('new')?.phase === 'Running')
  expect(statusOf('new')?.reason).toBeUndefined()
  expect(runtime.calls).not.toContain('remove old')
})

test('one pod at a time once, different pods beside each other up to a bound', async () => {
  let inside = 0
  let overlaps = 0
  runtime.ends.set('twice', async () => {
    overlaps += inside++ > 0 ? 1 : 0
    await new Promise((resolve) => setTimeout(resolve, 20))
    inside--
    return pending
  })
  const pods = Array.from({ length: 20 }, (_value, index) => boundPod(`p${index}`))
  const slow = () => new Promise<PodStatus>((resolve) => setTimeout(() => resolve(running), 50))
  for (const pod of pods) runtime.ends.set(pod.metadata.name, slow)
  await Promise.all(pods.map((pod) => store.put(pod)))
  reconciler.start()
  for (let round = 0; round < 5; round++) {
    const pod = boundPod('twice')
    await store.put({ ...pod, metadata: { ...pod.metadata, labels: { round: String(round) } } })
  }
  await until(() => store.list('Pod').filter((pod) => pod.status?.phase === 'Running').length === 20)
  await until(() => runtime.count('ensure twice') >= 3)
  expect(overlaps).toBe(0)
  expect(runtime.underMax).toBe(8)
})

test('stopping leaves every pod as it is, and the next one takes over', async () => {
  reconciler.start()
  await store.put(boundPod('mine'))
  await until(() => statusOf('mine')?.phase === 'Running')
  await reconciler.stop()
  await store.delete({ kind: 'Pod', name: 'mine', namespace: 'default' })
  expect([...runtime.pods.keys()]).toEqual(['mine'])
  reconciler = newReconciler()
  reconciler.start()
  await until(() => runtime.pods.size === 0)
})
