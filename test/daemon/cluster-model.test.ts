/**
 * A property: whatever two stores and a person do to the folder, in any order, both stores end up with what a naive model
 * says: the last good text of every file that is there, a problem for every file that is broken.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import { ClusterFolder, podNamed, podText, until } from '../support/cluster-folder.ts'

const NAMES = ['a', 'b', 'c']

/** One file: the pod that its text names now (none where it is no YAML), and the last image it said as a good file. */
interface Expected {
  says: { name: string; image: string } | undefined
  image: string | undefined
}

type Step =
  | { act: 'put' | 'edit' | 'replace'; name: string; image: string; by: 0 | 1 }
  | { act: 'delete' | 'remove' | 'break' | 'bind'; name: string; by: 0 | 1 }
  | { act: 'move'; name: string; to: string }

const name = fc.constantFrom(...NAMES)
const by = fc.constantFrom<0 | 1>(0, 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    act: fc.constantFrom('put', 'edit', 'replace'),
    name,
    image: fc.constantFrom('nginx', 'httpd', 'redis'),
    by,
  }),
  fc.record({ act: fc.constantFrom('delete', 'remove', 'break', 'bind'), name, by }),
  fc.record({ act: fc.constant('move'), name, to: name }),
)

const fileOf = (podName: string) => `pods/default/${podName}.yaml`

async function play(
  folder: ClusterFolder,
  stores: FolderStore[],
  model: Map<string, Expected>,
  one: Step,
): Promise<void> {
  const path = join(folder.path, fileOf(one.name))
  const known = model.get(one.name)
  switch (one.act) {
    case 'put':
      await stores[one.by]!.put(podNamed(one.name, one.image))
      model.set(one.name, { says: { name: one.name, image: one.image }, image: one.image })
      return
    case 'edit':
      folder.write(fileOf(one.name), podText(one.name, one.image))
      model.set(one.name, { says: { name: one.name, image: one.image }, image: one.image })
      return
    case 'replace':
      folder.write('new.yaml', podText(one.name, one.image))
      renameSync(join(folder.path, 'new.yaml'), path)
      model.set(one.name, { says: { name: one.name, image: one.image }, image: one.image })
      return
    case 'delete': {
      const existed = await stores[one.by]!.delete({ kind: 'Pod', name: one.name, namespace: 'default' })
      expect(existed).toBe(known !== undefined)
      model.delete(one.name)
      return
    }
    case 'remove':
      rmSync(path, { force: true })
      model.delete(one.name)
      return
    case 'break':
      // The last good state is what the stores have seen: let them see it first.
      await settled(stores, model)
      folder.write(fileOf(one.name), 'kind: Pod\nmetadata: [')
      model.set(one.name, { says: undefined, image: known?.image })
      await settled(stores, model)
      return
    case 'bind': {
      const pod = stores[one.by]!.get('Pod', one.name, 'default')
      if (pod !== undefined) await stores[one.by]!.bind(pod, `node${one.by}`)
      return
    }
    case 'move':
      if (known === undefined || one.name === one.to) return
      await settled(stores, model)
      renameSync(path, join(folder.path, fileOf(one.to)))
      // Under another name it is broken: the text names the pod of the old one. Moved back, it is good again.
      model.set(one.to, {
        says: known.says,
        image: known.says?.name === one.to ? known.says.image : model.get(one.to)?.image,
      })
      model.delete(one.name)
      await settled(stores, model)
  }
}

function stateOf(store: FolderStore): Record<string, string> {
  const images = store.list('Pod').map((pod) => [pod.metadata.name, pod.spec.containers[0]!.image])
  const problems = store.problems().map(({ place }) => [`broken ${place.split('/').pop()}`, 'yes'])
  return Object.fromEntries([...images, ...problems])
}

function stateOfModel(model: Map<string, Expected>): Record<string, string> {
  const state: Record<string, string> = {}
  for (const [podName, { says, image }] of model) {
    if (image !== undefined) state[podName] = image
    if (says?.name !== podName) state[`broken ${podName}.yaml`] = 'yes'
  }
  return state
}

async function settled(stores: FolderStore[], model: Map<string, Expected>): Promise<void> {
  const wanted = show(stateOfModel(model))
  await until(() => stores.every((store) => show(stateOf(store)) === wanted)).catch(() => {
    for (const store of stores) expect(stateOf(store)).toEqual(stateOfModel(model))
  })
}

const show = (state: Record<string, string>) => JSON.stringify(Object.entries(state).sort())

test('two stores and a person agree with the model', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const folder = new ClusterFolder()
      try {
        const stores = [await folder.open(), await folder.open()]
        const model = new Map<string, Expected>()
        for (const one of steps) await play(folder, stores, model, one)
        await settled(stores, model)
        const fresh = await folder.open()
        const good = [...model].filter(([podName, { says }]) => says?.name === podName)
        expect(fresh.list('Pod').map((pod) => pod.metadata.name)).toEqual(good.map(([podName]) => podName).sort())
        // Both know the same bindings, and no status is left of what is gone.
        await until(() => stores.every((store) => bindings(store) === bindings(stores[0]!)), 'one view of the bindings')
        const left = NAMES.filter((podName) => !model.has(podName)).map(
          (podName) => `pods/default/${podName}.status.yaml`,
        )
        await until(() => left.every((path) => !existsSync(join(folder.path, path))), 'no status left behind')
      } finally {
        await folder.remove()
      }
    }),
    { numRuns: 40 },
  )
}, 120_000)

function bindings(store: FolderStore): string {
  return JSON.stringify(store.list('Pod').map((pod) => [pod.metadata.name, pod.metadata.uid, pod.status?.nodeName]))
}
