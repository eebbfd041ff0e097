/**
 * Pods between deletion and end, in real folder stores: two polderds and a person with rm. What all of them see at every
 * moment is the point: a pod that runs is there until its node has ended it, whoever deleted it and however.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { deleted, graceLeftMs, hastened, isStarted } from '../../daemon/cluster/deletion.ts'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { ClusterFolder, podNamed, podText, until } from '../support/cluster-folder.ts'

const KEY = { kind: 'Pod', name: 'web', namespace: 'default' } as const
const running: PodStatus = { nodeName: 'n1', phase: 'Running', startTime: '2026-01-31T12:00:00Z', podIP: '10.244.1.3' }

let folder: ClusterFolder
let stores: FolderStore[]
/** Whatever each store's listeners were shown as the pod's state, one after the other. */
let seen: string[][]

beforeEach(async () => {
  folder = new ClusterFolder()
  stores = [await folder.open(), await folder.open()]
  await stores[0]!.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDRs: [] } })
  seen = stores.map((store) => {
    const states: string[] = []
    const look = () => states.push(stateIn(store))
    store.onChange(look)
    return states
  })
})
afterEach(() => folder.remove())

const podsIn = (store: FolderStore) => store.list('Pod').filter(({ metadata }) => metadata.name === 'web')
const endingIn = (store: FolderStore) => podsIn(store).find(({ metadata }) => metadata.deletionTimestamp !== undefined)
function stateIn(store: FolderStore): string {
  const states = podsIn(store).map(({ metadata }) => (metadata.deletionTimestamp === undefined ? 'there' : 'ending'))
  return states.length === 0 ? 'gone' : states.join()
}
const filesOf = (directory: string) => readdirSync(join(folder.path, directory))
const everywhere = (state: string) => until(() => stores.every((store) => stateIn(store) === state), state)

async function start(pod: Pod = podNamed('web')): Promise<Pod> {
  await stores[0]!.put({ ...pod, spec: { ...pod.spec, nodeName: 'n1', terminationGracePeriodSeconds: 20 } })
  await stores[0]!.putPodStatus(stores[0]!.get('Pod', 'web', 'default')!, running)
  await until(() => stores.every((store) => store.get('Pod', 'web', 'default')?.status?.podIP !== undefined))
  for (const states of seen) states.length = 0
  return stores[0]!.get('Pod', 'web', 'default')!
}

describe('the deadline', () => {
  const pod = { ...podNamed('web'), status: running }
  test('is the deletion plus the grace period, and comes only nearer', () => {
    expect(isStarted(pod)).toBe(true)
    expect(isStarted({ ...pod, status: { nodeName: 'n1', phase: 'Pending' } })).toBe(false)
    const ending = deleted(pod, 1_000_000)
    expect(ending.metadata.deletionTimestamp).toBe(new Date(1_030_000).toISOString())
    expect(graceLeftMs(ending, 1_010_000)).toBe(20_000)
    expect(hastened(ending, undefined)).toBe(ending)
    expect(hastened(ending, 60)).toBe(ending)
    expect(graceLeftMs(hastened(ending, 15), 1_010_000)).toBe(5_000)
    expect(graceLeftMs(hastened(ending, 0), 1_010_000)).toBe(0)
  })

  test('is not moved by a clock that was set', () => {
    const ending = deleted(pod, 1_000_000, 5)
    expect(graceLeftMs(ending, 0)).toBe(5_000)
    expect(graceLeftMs(ending, 9_000_000)).toBe(0)
  })
})

test('a deleted pod is seen to end by all, whole, until its node has ended it', async () => {
  const pod = await start()
  expect(await stores[1]!.delete(KEY)).toBe(true)
  await everywhere('ending')
  for (const store of stores) {
    expect(endingIn(store)).toMatchObject({ spec: pod.spec, status: running, metadata: pod.metadata })
    expect(endingIn(store)!.metadata.deletionGracePeriodSeconds).toBe(20)
    expect(store.get('Pod', 'web', 'default')).toBe(endingIn(store))
  }
  expect(filesOf('pods/default')).toEqual([])
  const unready: PodStatus = { ...running, conditions: [{ type: 'Ready', status: 'False' }] }
  await stores[0]!.putPodStatus(endingIn(stores[0]!)!, unready)
  await until(() => endingIn(stores[1]!)?.status?.conditions !== undefined)
  // Another polderd, after a restart of all of them.
  stores.push(await folder.open())
  expect(endingIn(stores[2]!)).toEqual(endingIn(stores[0]!))
  await stores[0]!.endPod(endingIn(stores[0]!)!)
  await everywhere('gone')
  for (const states of seen) expect(states).not.toContain('there')
  for (const states of seen) expect(states.indexOf('gone')).toBe(states.length - 1)
  expect(filesOf('terminating')).toEqual([])
})

test('a pod whose file is removed by hand is as one that was deleted, and is never gone in between', async () => {
  const pod = await start()
  rmSync(join(folder.path, 'pods/default/web.yaml'))
  await everywhere('ending')
  await until(() => filesOf('terminating').length === 1 && filesOf('pods/default').length === 0)
  await until(() => stores.every((store) => endingIn(store)!.metadata.uid === pod.metadata.uid))
  for (const states of seen) expect(states).not.toContain('gone')
  stores.push(await folder.open())
  expect(stateIn(stores[2]!)).toBe('ending')
  await stores[0]!.endPod(endingIn(stores[0]!)!)
  await everywhere('gone')
})

test('its node may end it before anybody has made a file of its end', async () => {
  await start()
  rmSync(join(folder.path, 'pods/default/web.yaml'))
  await until(() => stateIn(stores[0]!) === 'ending')
  await stores[0]!.endPod(endingIn(stores[0]!)!)
  await everywhere('gone')
  expect([...filesOf('terminating'), ...filesOf('pods/default')]).toEqual([])
})

test('meanwhile another pod of the same name is another one', async () => {
  const first = await start()
  await stores[0]!.delete(KEY)
  await stores[0]!.put(podNamed('web', 'httpd'))
  await everywhere('there,ending')
  const second = stores[1]!.get('Pod', 'web', 'default')!
  expect(second.metadata.uid).not.toBe(first.metadata.uid)
  expect(second.status).toBeUndefined()
  await stores[0]!.bind(second, 'n1')
  await stores[0]!.putPodStatus(second, running)
  await stores[0]!.delete(KEY)
  await everywhere('ending,ending')
  for (const pod of podsIn(stores[0]!)) await stores[0]!.endPod(pod)
  await everywhere('gone')
})

test('a file that is written again by hand is not lost over the end of the one before it', async () => {
  folder.write('pods/default/web.yaml', podText('web').replace('spec:', 'spec:\n  nodeName: n1'))
  await everywhere('there')
  await stores[0]!.putPodStatus(stores[0]!.get('Pod', 'web', 'default')!, running)
  await until(() => stores.every((store) => store.get('Pod', 'web', 'default')?.status !== undefined))
  rmSync(join(folder.path, 'pods/default/web.yaml'))
  await until(() => filesOf('terminating').length === 1)
  folder.write('pods/default/web.yaml', podText('web', 'httpd'))
  await everywhere('there,ending')
  await stores[0]!.endPod(endingIn(stores[0]!)!)
  await everywhere('there')
  expect(existsSync(join(folder.path, 'pods/default/web.yaml'))).toBe(true)
})

test('deleted again it ends sooner, never later', async () => {
  await start()
  await stores[0]!.delete(KEY)
  const { deletionTimestamp } = endingIn(stores[0]!)!.metadata
  expect(await stores[1]!.delete(KEY, { graceSeconds: 600 })).toBe(true)
  expect(endingIn(stores[1]!)!.metadata.deletionTimestamp).toBe(deletionTimestamp)
  expect(await stores[1]!.delete(KEY, { graceSeconds: 5 })).toBe(true)
  expect(Date.parse(endingIn(stores[1]!)!.metadata.deletionTimestamp!)).toBe(Date.parse(deletionTimestamp!) - 15_000)
})

test('by force it is forgotten, running or ending', async () => {
  await start()
  await stores[0]!.delete(KEY, { force: true })
  await everywhere('gone')
  await start()
  await stores[0]!.delete(KEY)
  await everywhere('ending')
  await stores[1]!.delete(KEY, { force: true })
  await everywhere('gone')
  expect([...filesOf('terminating'), ...filesOf('pods/default')]).toEqual([])
})

test('what nobody has begun is gone at once', async () => {
  await stores[0]!.put(podNamed('web'))
  await stores[0]!.bind(stores[0]!.get('Pod', 'web', 'default')!, 'n1')
  await stores[0]!.delete(KEY)
  expect(stateIn(stores[0]!)).toBe('gone')
  expect(await stores[0]!.delete(KEY)).toBe(false)
})

test('a node that is deleted ends nothing any more, nor does one that went while no polderd ran', async () => {
  await start()
  await stores[0]!.delete(KEY)
  await everywhere('ending')
  expect(stateIn(await folder.open())).toBe('ending')
  await stores[0]!.delete({ kind: 'Node', name: 'n1' })
  await everywhere('gone')
  expect(filesOf('terminating')).toEqual([])
})

test('a file that cannot be read is told, with the remedy', async () => {
  folder.write('terminating/default_web_0.yaml', 'kind: Pod\nmetadata: {name: web}\n')
  await until(() => stores[0]!.problems().length > 0)
  expect(stores[0]!.problems()).toEqual([
    {
      place: join(folder.path, 'terminating/default_web_0.yaml'),
      message: expect.stringMatching(/is no pod that is being deleted: remove it/),
    },
  ])
})
