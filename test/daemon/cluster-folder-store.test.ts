/**
 * The folder store: what programs put, what people do to its files, and both at once from several stores.
 */
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import type { Namespace, NodeStatus, Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import type { Change } from '../../daemon/cluster/store.ts'
import { ClusterFolder, podNamed, podText, until } from '../support/cluster-folder.ts'

let folder: ClusterFolder
let store: FolderStore
let other: FolderStore

beforeEach(async () => {
  folder = new ClusterFolder()
  store = await folder.open()
  other = await folder.open()
})
afterEach(() => folder.remove())

const imageOf = (from: FolderStore, name: string, namespace = 'default') =>
  from.get('Pod', name, namespace)?.spec.containers[0]?.image
const namespaceNamed = (name: string): Namespace => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
const at = (path: string) => join(folder.path, path)
const running: PodStatus = { phase: 'Running', podIP: '10.244.1.3' }

describe('put and delete', () => {
  test('created, unchanged, configured; uid and creation time are given once', async () => {
    expect(await store.put(podNamed('web'))).toBe('created')
    const { uid, creationTimestamp } = store.get('Pod', 'web', 'default')!.metadata
    expect(uid).toMatch(/^[0-9a-f-]{36}$/)
    expect(creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(await store.put(podNamed('web'))).toBe('unchanged')
    expect(await other.put(podNamed('web', 'httpd'))).toBe('configured')
    await until(() => imageOf(store, 'web') === 'httpd')
    expect(store.get('Pod', 'web', 'default')!.metadata).toEqual({
      name: 'web',
      namespace: 'default',
      uid,
      creationTimestamp,
    })
  })

  test("an unchanged put leaves a person's file as it is", async () => {
    const text = `# mine\n${podText('web')}`
    folder.write('pods/default/web.yaml', text)
    expect(await store.put(podNamed('web'))).toBe('unchanged')
    expect(readFileSync(at('pods/default/web.yaml'), 'utf8')).toBe(text)
  })

  test('what is put can be read at once, by this store, and soon by the others', async () => {
    await store.put(podNamed('web'))
    expect(store.list('Pod').map((pod) => pod.metadata.name)).toEqual(['web'])
    await until(() => other.list('Pod', 'default').length === 1)
    expect(other.get('Pod', 'web', 'default')).toEqual(store.get('Pod', 'web', 'default'))
  })

  test('a broken file is mended by a put', async () => {
    await store.put(podNamed('web'))
    folder.write('pods/default/web.yaml', 'kind: [')
    expect(await store.put(podNamed('web'))).toBe('configured')
    expect(store.problems()).toEqual([])
  })

  test('delete takes the status along, and says when there was nothing', async () => {
    await store.put(podNamed('web'))
    await store.bind(store.get('Pod', 'web', 'default')!, 'alpha')
    const key = { kind: 'Pod', name: 'web', namespace: 'default' } as const
    expect(await store.delete(key)).toBe(true)
    expect(await store.delete(key)).toBe(false)
    expect(store.get('Pod', 'web', 'default')).toBeUndefined()
    expect(readdirSync(at('pods/default'))).toEqual([])
  })

  test('an invalid object is refused', async () => {
    await expect(store.put(podNamed('Web'))).rejects.toMatchObject({ code: 'bad-manifest' })
    await expect(store.put(podNamed('web.status'))).rejects.toMatchObject({ code: 'bad-name' })
    await expect(store.put(podNamed('a'.repeat(60).concat('.').repeat(4).slice(0, -1)))).resolves.toBe('created')
    await expect(store.put(podNamed(`${`${'a'.repeat(60)}.`.repeat(4)}b`))).rejects.toMatchObject({ code: 'bad-name' })
    await expect(store.delete({ kind: 'Pod', name: '../x', namespace: '..' })).rejects.toMatchObject({
      code: 'bad-name',
    })
  })

  test('nothing hidden is left behind', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, index) => [store, other][index % 2]!.put(podNamed(`p${index}`))))
    expect(readdirSync(at('pods/default')).filter((name) => name.startsWith('.'))).toEqual([])
    writeFileSync(at('pods/default/.polder-1-x.tmp'), 'torn')
    writeFileSync(at('pods/default/.polder-2-x.tmp'), 'being written')
    utimesSync(at('pods/default/.polder-1-x.tmp'), 0, 0)
    await folder.open()
    expect(readdirSync(at('pods/default')).filter((name) => name.startsWith('.'))).toEqual(['.polder-2-x.tmp'])
  })
})

describe('namespaces', () => {
  test('default is always there and cannot be deleted', async () => {
    expect(store.list('Namespace').map(({ metadata, status }) => [metadata.name, status?.phase])).toEqual([
      ['default', 'Active'],
    ])
    await expect(store.delete({ kind: 'Namespace', name: 'default' })).rejects.toMatchObject({
      code: 'namespace-needed',
    })
  })

  test('a pod needs its namespace; a namespace with pods stays', async () => {
    const pod = podNamed('web', 'nginx', 'lab')
    await expect(store.put(pod)).rejects.toMatchObject({
      code: 'namespace-not-found',
      remedy: expect.stringContaining('apply'),
    })
    await other.put(namespaceNamed('lab'))
    expect(await store.put(pod)).toBe('created')
    await expect(other.delete({ kind: 'Namespace', name: 'lab' })).rejects.toMatchObject({
      code: 'namespace-not-empty',
      message: 'Namespace lab still holds pod web.',
    })
    await other.delete({ kind: 'Pod', name: 'web', namespace: 'lab' })
    expect(await other.delete({ kind: 'Namespace', name: 'lab' })).toBe(true)
    expect(existsSync(at('pods/lab'))).toBe(false)
  })

  test('a pod written by hand into an undeclared namespace runs, and is told of', async () => {
    folder.write('pods/lab/web.yaml', podText('web'))
    await until(() => imageOf(store, 'web', 'lab') === 'nginx')
    expect(store.problems()).toEqual([
      { place: at('pods/lab/web.yaml'), message: expect.stringContaining('no Namespace lab') },
    ])
    await store.put(namespaceNamed('lab'))
    expect(store.problems()).toEqual([])
  })
})

describe('by hand', () => {
  test('every way to change a file takes effect within 100 ms', async () => {
    const path = 'pods/default/web.yaml'
    folder.write('scratch/httpd.yaml', podText('web', 'httpd'))
    const took: Record<string, number> = {}
    const step = async (name: string, act: () => void, image: string | undefined) => {
      act()
      took[name] = Math.max(
        await until(() => imageOf(store, 'web') === image, name),
        await until(() => imageOf(other, 'web') === image, name),
      )
    }
    await step('create', () => folder.write(path, podText('web')), 'nginx')
    await step('write in place', () => folder.write(path, podText('web', 'busybox')), 'busybox')
    await step('copy over', () => cpSync(at('scratch/httpd.yaml'), at(path)), 'httpd')
    await step('sed -i', () => execFileSync('sed', ['-i', 's/httpd/redis/', at(path)]), 'redis')
    const vi = () => {
      renameSync(at(path), at(`${path}~`))
      folder.write(path, podText('web', 'nginx'))
      rmSync(at(`${path}~`))
    }
    await step("vi's rename", vi, 'nginx')
    await step('move away', () => renameSync(at(path), at('scratch/web.yaml')), undefined)
    await step('move in', () => renameSync(at('scratch/web.yaml'), at(path)), 'nginx')
    await step('remove', () => rmSync(at(path)), undefined)
    for (const [name, ms] of Object.entries(took)) expect(ms, name).toBeLessThan(100)
  })

  test('in a namespace that is new, or goes with all that is in it', async () => {
    mkdirSync(at('pods/lab'))
    folder.write('pods/lab/web.yaml', podText('web'))
    await until(() => imageOf(store, 'web', 'lab') === 'nginx')
    folder.write('pods/lab/web.yaml', podText('web', 'httpd'))
    await until(() => imageOf(store, 'web', 'lab') === 'httpd')
    renameSync(at('pods/lab'), at('away'))
    await until(() => imageOf(store, 'web', 'lab') === undefined)
    renameSync(at('away'), at('pods/lab'))
    await until(() => imageOf(store, 'web', 'lab') === 'httpd')
    rmSync(at('pods/lab'), { recursive: true })
    await until(() => store.list('Pod').length === 0)
  })

  test('what inotify does not see, a file behind a link, is seen by the slow look at everything', async () => {
    folder.write('scratch/web.yaml', podText('web'))
    symlinkSync(at('scratch/web.yaml'), at('pods/default/web.yaml'))
    await until(() => imageOf(store, 'web') === 'nginx')
    folder.write('scratch/web.yaml', podText('web', 'httpd'))
    await until(() => imageOf(store, 'web') === 'httpd', 'the look at everything', 8000)
  }, 10_000)

  test('the uid is the same for every store and after every edit', async () => {
    folder.write('pods/default/web.yaml', podText('web'))
    await until(() => imageOf(store, 'web') === 'nginx' && imageOf(other, 'web') === 'nginx')
    const { uid } = store.get('Pod', 'web', 'default')!.metadata
    expect(uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(other.get('Pod', 'web', 'default')!.metadata.uid).toBe(uid)
    rmSync(at('pods/default/web.yaml'))
    folder.write('pods/default/web.yaml', podText('web', 'httpd'))
    await until(() => imageOf(store, 'web') === 'httpd')
    expect(store.get('Pod', 'web', 'default')!.metadata.uid).toBe(uid)
    await store.put(podNamed('web', 'redis'))
    expect(store.get('Pod', 'web', 'default')!.metadata.uid).toBe(uid)
  })

  test('what is no store file is ignored', async () => {
    for (const name of ['.web.yaml', 'web.yaml~', '#web.yaml#', '.web.yaml.swp', 'notes.txt', 'web.yaml.bak', '4913']) {
      folder.write(`pods/default/${name}`, podText('web'))
    }
    folder.write('pods/default/last.yaml', podText('last'))
    await until(() => imageOf(store, 'last') === 'nginx')
    expect(store.list('Pod')).toHaveLength(1)
    expect(store.problems()).toEqual([])
  })
})

describe('problems', () => {
  test('a broken file is told of once, and what it last said stays until it is mended or gone', async () => {
    folder.write('pods/default/web.yaml', podText('web'))
    await until(() => imageOf(store, 'web') === 'nginx')
    folder.write('pods/default/web.yaml', podText('web').replace('image: nginx', 'imag: httpd'))
    await until(() => store.problems().length === 1)
    expect(store.problems()[0]!.place).toBe(at('pods/default/web.yaml'))
    expect(store.problems()[0]!.message).toContain(
      `${at('pods/default/web.yaml')}:8:7 spec.containers[0].imag: is not known; did you mean image?`,
    )
    expect(imageOf(store, 'web')).toBe('nginx')
    expect(folder.warnings.filter((line) => line.includes('did you mean image?')).length).toBeGreaterThan(0)
    folder.write('pods/default/web.yaml', podText('web', 'httpd'))
    await until(() => imageOf(store, 'web') === 'httpd' && store.problems().length === 0)
    folder.write('pods/default/web.yaml', '')
    await until(() => store.problems().length === 1)
    rmSync(at('pods/default/web.yaml'))
    await until(() => store.problems().length === 0 && imageOf(store, 'web') === undefined)
  })

  test.each([
    ['pods/default/web.yaml', podText('wob'), 'holds Pod default/wob; a file of this name must hold Pod default/web'],
    ['pods/default/web.yaml', podText('web').replace('web', 'web\n  namespace: lab'), 'holds Pod lab/web'],
    ['nodes/web.yaml', podText('web'), 'holds Pod default/web; a file of this name must hold Node web'],
    ['pods/default/web.yaml', `${podText('web')}---\n${podText('web')}`, 'holds 2 objects'],
    ['pods/default/web.yaml', `# ${'x'.repeat(2 ** 20)}`, 'is longer than 1048576 bytes'],
    ['pods/default/web.yml', podText('web'), 'rename it so that it ends in .yaml'],
    ['pods/No_Namespace/web.yaml', podText('web'), 'cannot be the name of a namespace'],
    ['pods/default/web.status.yaml', 'status: 5', 'web.status.yaml:1:1'],
  ])('%s %#', async (path, text, expected) => {
    folder.write(path, text)
    await until(() => store.problems().length === 1)
    expect(store.problems()[0]).toEqual({ place: at(path), message: expect.stringContaining(expected) })
    expect(store.list('Pod')).toEqual([])
  })

  test('a named pipe, a directory and a dangling link hang nothing', async () => {
    execFileSync('mkfifo', [at('pods/default/pipe.yaml')])
    mkdirSync(at('pods/default/folder.yaml'))
    symlinkSync('nowhere', at('pods/default/link.yaml'))
    await until(() => store.problems().length === 2)
    expect(store.problems().map((one) => one.message.split(': ')[1])).toEqual([
      'is not a regular file',
      'is not a regular file',
    ])
  })
})

describe('status', () => {
  const nodeStatus: NodeStatus = {
    addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
    conditions: [],
    network: { underlayAddress: '192.0.2.1', vtepMac: '0a:00:00:00:00:01', mtuBytes: 1450 },
  }

  test('lives beside, and the spec file stays as it is', async () => {
    const text = podText('web')
    folder.write('pods/default/web.yaml', text)
    await until(() => imageOf(store, 'web') === 'nginx')
    const pod = store.get('Pod', 'web', 'default')!
    expect(await store.bind(pod, 'alpha')).toBe(true)
    await store.putPodStatus(pod, { ...running, nodeName: 'alpha' })
    expect(store.get('Pod', 'web', 'default')!.status).toEqual({ ...running, nodeName: 'alpha' })
    await until(() => other.get('Pod', 'web', 'default')?.status?.phase === 'Running')
    expect(readFileSync(at('pods/default/web.yaml'), 'utf8')).toBe(text)
  })

  test('a put keeps it, and never writes one', async () => {
    await store.put({ ...podNamed('web'), status: { phase: 'Failed' } } as Pod)
    expect(store.get('Pod', 'web', 'default')!.status).toBeUndefined()
    await store.bind(store.get('Pod', 'web', 'default')!, 'alpha')
    await store.put(podNamed('web', 'httpd'))
    expect(store.get('Pod', 'web', 'default')!.status?.nodeName).toBe('alpha')
  })

  test('of another node, or of an earlier pod of the name, counts for nothing', async () => {
    await store.put(podNamed('web'))
    const pod = store.get('Pod', 'web', 'default')!
    await store.bind(pod, 'alpha')
    await other.putPodStatus(pod, { ...running, nodeName: 'beta' })
    expect(other.get('Pod', 'web', 'default')!.status).toEqual({ phase: 'Pending', nodeName: 'alpha' })
    const key = { kind: 'Pod', name: 'web', namespace: 'default' } as const
    await store.delete(key)
    await store.put(podNamed('web'))
    await store.putPodStatus(pod, running)
    expect(store.get('Pod', 'web', 'default')!.status).toBeUndefined()
    folder.write(
      'pods/default/web.status.yaml',
      `kind: Pod\nmetadata: {name: web, uid: ${pod.metadata.uid}}\nstatus: {phase: Running, nodeName: beta}\n`,
    )
    expect(await store.bind(store.get('Pod', 'web', 'default')!, 'gamma')).toBe(true)
    expect(store.get('Pod', 'web', 'default')!.status).toEqual({ phase: 'Pending', nodeName: 'gamma' })
  })

  test('a pod without one is bound once, also where a status that names no node is there', async () => {
    await store.put(podNamed('web'))
    const pod = store.get('Pod', 'web', 'default')!
    await store.putPodStatus(pod, { phase: 'Pending', reason: 'NoNode' })
    const won = await Promise.all([store.bind(pod, 'alpha'), other.bind(pod, 'beta'), store.bind(pod, 'gamma')])
    expect(won.filter(Boolean)).toHaveLength(1)
    const winner = ['alpha', 'beta', 'gamma'][won.indexOf(true)]!
    expect(store.get('Pod', 'web', 'default')!.status).toEqual({ phase: 'Pending', reason: 'NoNode', nodeName: winner })
    expect(await other.bind(pod, winner)).toBe(true)
    await store.delete({ kind: 'Pod', name: 'web', namespace: 'default' })
    expect(await other.bind(pod, winner)).toBe(false)
  })

  test('is removed with its object, by whoever sees it, also one that was left while nobody ran', async () => {
    await store.put(podNamed('web'))
    await store.bind(store.get('Pod', 'web', 'default')!, 'alpha')
    rmSync(at('pods/default/web.yaml'))
    await until(() => !existsSync(at('pods/default/web.status.yaml')))
    await Promise.all([store.close(), other.close()])
    folder.write('pods/default/old.status.yaml', 'kind: Pod\nmetadata: {name: old}\nstatus: {phase: Running}\n')
    await folder.open()
    expect(readdirSync(at('pods/default'))).toEqual([])
  })

  test('of a node', async () => {
    await store.claimNode('alpha')
    await store.putNodeStatus('alpha', nodeStatus)
    expect(store.get('Node', 'alpha')!.status).toEqual(nodeStatus)
    await until(() => other.get('Node', 'alpha')?.status !== undefined)
    await store.putNodeStatus('nobody', nodeStatus)
    expect(existsSync(at('nodes/nobody.status.yaml'))).toBe(false)
  })
})

describe('onChange', () => {
  const show = (change: Change) => `${change.key.name} ${change.previous ? 'was' : '-'} ${change.current ? 'is' : '-'}`

  test('every difference once, whoever made it', async () => {
    const seen: string[] = []
    const stop = other.onChange((changes) => seen.push(...changes.map(show)))
    await store.put(podNamed('web'))
    await until(() => seen.length === 1)
    await other.put(podNamed('web', 'httpd'))
    await other.put(podNamed('web', 'httpd'))
    rmSync(at('pods/default/web.yaml'))
    await until(() => seen.length === 3)
    stop()
    await store.put(podNamed('late'))
    await until(() => other.list('Pod').length === 1)
    expect(seen).toEqual(['web - is', 'web was is', 'web was -'])
  })

  test('what happens together is one batch; a listener that fails stops nobody', async () => {
    const batches: number[] = []
    store.onChange(() => {
      throw new Error('on purpose')
    })
    store.onChange((changes) => batches.push(changes.length))
    for (let index = 0; index < 50; index++) folder.write(`pods/default/p${index}.yaml`, podText(`p${index}`))
    await until(() => store.list('Pod').length === 50)
    expect(batches.length).toBeLessThan(10)
    expect(batches.reduce((sum, length) => sum + length, 0)).toBe(50)
    expect(folder.warnings.some((line) => line.startsWith('a listener'))).toBe(true)
  })
})
