/** get, describe, apply, delete, run, create and wait: the command as a process, against the real API and folder store. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type ApiNode,
  attachmentOf,
  makeScratch,
  putPod,
  runningStatus,
  type Scratch,
  startApiNode,
} from '../support/api-node.ts'
import { type CliOptions, runCli, startCli } from '../support/cli.ts'
import { until } from '../support/until.ts'

let scratch: Scratch
let node: ApiNode

beforeEach(async () => {
  scratch = makeScratch()
  node = await startApiNode(scratch.folder)
})

afterEach(async () => {
  await node.stop()
  scratch.remove()
})

function polder(line: string, options: CliOptions = {}) {
  return runCli(line.split(' '), { socket: node.socket, ...options })
}

async function putRunning(name: string, addresses: string[], containers = ['main']) {
  const pod = await putPod(node, name, 'node1', containers)
  await node.store.putPodStatus(pod, runningStatus('node1', addresses, containers))
  return node.store.get('Pod', name, 'default')!
}

function writeManifest(name: string, text: string): string {
  const file = path.join(scratch.folder, name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

const POD = `apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - {name: c, image: nginx}
`

describe('get', () => {
  test('nothing is said on stderr', async () => {
    expect(await polder('get pods')).toEqual({
      code: 0,
      stdout: '',
      stderr: 'No resources found in default namespace.\n',
    })
    expect((await polder('get pods -A')).stderr).toBe('No resources found.\n')
  })

  test('a table of pods, wide and narrow', async () => {
    await putRunning('a', ['10.244.0.3', 'fd00:10:244::3'], ['x', 'y'])
    await putPod(node, 'long-name')
    const narrow = (await polder('get po')).stdout.split('\n')
    expect(narrow[0]).toBe('NAME        READY   STATUS    RESTARTS   AGE')
    expect(narrow[1]).toMatch(/^a {11}2\/2 {5}Running {3}0 {10}\d+s$/)
    expect(narrow[2]).toMatch(/^long-name {3}0\/1 {5}Pending {3}0 {10}\d+s$/)
    const wide = (await polder('get pods -o wide')).stdout.split('\n')
    expect(wide[0]).toMatch(/AGE +IPS +NODE$/)
    expect(wide[1]).toMatch(/10.244.0.3,fd00:10:244::3 {3}node1$/)
    expect(wide[2]).toMatch(/<none> +<none>$/)
  })

  test('of all namespaces, with labels, without headings, by selector', async () => {
    await polder('apply -f -', { stdin: POD })
    await putPod(node, 'a')
    expect((await polder('get pods -A --no-headers --show-labels -l app=web')).stdout).toMatch(
      /^default {3}web {3}0\/1 {3}Pending {3}0 {3}\d+s {3}app=web\n$/,
    )
  })

  test('several kinds and names', async () => {
    await putPod(node, 'a')
    await putPod(node, 'b')
    expect((await polder('get pod/b ns/default -o name')).stdout).toBe('pod/b\nnamespace/default\n')
    expect((await polder('get pods,ns')).stdout).toMatch(/^NAME +READY[\s\S]*\n\nNAME +STATUS +AGE\ndefault/)
    expect((await polder('get pod a b -o name')).stdout).toBe('pod/a\npod/b\n')
  })

  test('nodes, attachments, problems', async () => {
    await node.store.claimNode('node1')
    await node.store.putNodeStatus('node1', {
      addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
      conditions: [{ type: 'Ready', status: 'True' }],
      network: { underlayAddress: '192.0.2.1', vtepMac: '02:00:00:00:00:01', mtuBytes: 1450 },
      nodeInfo: { polderVersion: '0.1.0', kernelVersion: '6', osImage: 'x' },
    })
    node.attachments.push(attachmentOf(await putPod(node, 'a', 'node1'), ['10.244.1.3']))
    expect((await polder('get nodes -o wide')).stdout).toMatch(
      /^NAME +STATUS +AGE +VERSION +POD-CIDRS +UNDERLAY +MTU\nnode1 +Ready .*192.0.2.1 +1450\n$/,
    )
    expect((await polder('get att')).stdout).toMatch(/\nid-of-a +eth0 +10.244.1.3 +default\/a +node1 +\d+/)
    expect((await polder('get att id-of -o json')).stdout).toContain('"containerId": "id-of-a"')
    const broken = path.join(scratch.folder, 'cluster', 'pods', 'default', 'broken.yaml')
    writeFileSync(broken, 'kind: [')
    await until(() => node.store.problems().length > 0)
    expect((await polder('get problems')).stdout).toContain(broken)
  })

  test('yaml and json can be applied again', async () => {
    await putRunning('a', ['10.244.0.3'])
    await putPod(node, 'b')
    for (const format of ['yaml', 'json']) {
      const one = await polder(`get pod a -o ${format}`)
      expect(await polder('apply -f -', { stdin: one.stdout })).toMatchObject({ code: 0, stdout: 'pod/a unchanged\n' })
      const all = await polder(`get pods -o ${format}`)
      const applied = await polder('apply -f -', { stdin: all.stdout })
      expect(applied).toMatchObject({ code: 0, stdout: 'pod/a unchanged\npod/b unchanged\n' })
    }
  })

  test('-w prints what changes, until it is ended', async () => {
    const pod = await putPod(node, 'a', 'node1')
    const child = startCli(['get', 'pods', '-w'], { socket: node.socket })
    let seen = ''
    child.stdout!.on('data', (chunk) => {
      seen += chunk
    })
    await until(() => /\na +0\/1 +Pending/.test(seen))
    await node.store.putPodStatus(pod, runningStatus('node1', ['10.244.0.3']))
    await until(() => /\na +1\/1 +Running/.test(seen))
    await node.store.delete({ kind: 'Pod', name: 'a', namespace: 'default' })
    await until(() => /\na +1\/1 +Terminating/.test(seen))
    expect(seen.match(/NAME/g)).toHaveLength(1)
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.kill()
    await ended
  })
})

describe('describe', () => {
  test('a pod, with its containers and its attachment', async () => {
    const pod = await putRunning('a', ['10.244.0.3', 'fd00:10:244::3'], ['x', 'y'])
    node.attachments.push(attachmentOf(pod, ['10.244.0.3', 'fd00:10:244::3']))
    const { stdout } = await polder('describe pod a')
    expect(stdout).toMatch(/^Name: +a\nNamespace: +default\nNode: +node1\n/)
    expect(stdout).toMatch(/IPs: +10.244.0.3\n +fd00:10:244::3\n/)
    expect(stdout).toMatch(/Attachment:\n {2}Container: +id-of-a\n/)
    expect(stdout).toMatch(/Containers:\n {2}x:\n {4}Image: +busybox\n {4}State: +Running\n/)
    expect(stdout).toMatch(/Conditions:\n {2}Ready: +True\n/)
  })

  test('a node with its counters', async () => {
    await node.store.claimNode('node1')
    node.counters.entrances.push({ name: 'from-pod', packets: 7, bytes: 700 })
    node.counters.drops.push({ reason: 'spoofed', text: 'not its own address', packets: 3 })
    const { stdout } = await polder('describe node node1')
    expect(stdout).toMatch(/Packets In:\n {2}from-pod: +7 packets, 700 bytes\n/)
    expect(stdout).toMatch(/Packets Dropped:\n {2}spoofed: +3 \(not its own address\)\n/)
  })
})

describe('apply', () => {
  test('created, unchanged, configured', async () => {
    const file = writeManifest('web.yaml', POD)
    expect(await polder(`apply -f ${file}`)).toEqual({ code: 0, stdout: 'pod/web created\n', stderr: '' })
    expect((await polder(`apply -f ${file}`)).stdout).toBe('pod/web unchanged\n')
    writeManifest('web.yaml', POD.replace('app: web', 'app: other'))
    expect((await polder(`apply -f ${file}`)).stdout).toBe('pod/web configured\n')
  })

  test('a folder, several files, several documents; namespaces first', async () => {
    writeManifest(
      'all/1.yaml',
      POD.replace('name: web', 'name: a, namespace: shop').replace(
        'metadata:\n  name: a, namespace: shop',
        'metadata:\n  name: a\n  namespace: shop',
      ),
    )
    writeManifest('all/2.yml', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n')
    writeManifest('all/notes.txt', 'not a manifest')
    const more = writeManifest('more.yaml', `${POD}---\n${POD.replace('name: web', 'name: web2')}`)
    const { stdout, code } = await polder(`apply -f ${scratch.folder}/all -f ${more}`)
    expect({ stdout, code }).toEqual({
      code: 0,
      stdout: 'namespace/shop created\npod/a created\npod/web created\npod/web2 created\n',
    })
  })

  test('what is not supported is a warning on stderr', async () => {
    const { code, stdout, stderr } = await polder('apply -f -', {
      stdin: POD.replace('spec:', 'spec:\n  nodeSelector: {a: b}'),
    })
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'pod/web created\n' })
    expect(stderr).toMatch(/^Warning: standard input:\d+:\d+ spec.nodeSelector: is not supported and ignored\n$/)
  })

  test('-n is for objects without a namespace', async () => {
    await polder('create namespace shop')
    expect((await polder('apply -n shop -f -', { stdin: POD })).code).toBe(0)
    expect(node.store.get('Pod', 'web', 'shop')).toBeDefined()
    const other = POD.replace('name: web', 'name: web\n  namespace: default')
    expect((await polder('apply -n shop -f -', { stdin: other })).stderr).toContain('of namespace default, not shop')
  })

  test('one mistake, and nothing of any file is applied; every mistake is told', async () => {
    const good = writeManifest('good.yaml', POD)
    const bad = writeManifest('bad.yaml', POD.replace('image:', 'imgae:').replace('kind: Pod', 'kind: Pod\nfoo: 1'))
    const { code, stdout, stderr } = await polder(`apply -f ${good} -f ${bad}`)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('imgae')
    expect(stderr).toContain('foo')
    expect(node.store.list('Pod')).toEqual([])
  })

  test('what the store refuses does not keep the rest from being applied', async () => {
    const shop = POD.replace('name: web', 'name: lost\n  namespace: shop')
    const { code, stdout, stderr } = await polder('apply -f -', { stdin: `${shop}---\n${POD}` })
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'pod/web created\n' })
    expect(stderr).toContain('polder create namespace shop')
  })
})

describe('delete', () => {
  test('waits until the node holds nothing of it', async () => {
    const pod = await putPod(node, 'a', 'node1')
    node.attachments.push(attachmentOf(pod, ['10.244.0.3']))
    const deleting = polder('delete pod a')
    await until(() => node.store.get('Pod', 'a', 'default') === undefined)
    node.attachments.length = 0
    expect(await deleting).toEqual({ code: 0, stdout: 'pod "a" deleted\n', stderr: '' })
  })

  test('not with --no-wait; and --timeout says what is left', async () => {
    node.attachments.push(attachmentOf(await putPod(node, 'a', 'node1'), ['10.244.0.3']))
    expect((await polder('delete pod a --no-wait')).code).toBe(0)
    node.attachments.push(attachmentOf(await putPod(node, 'b', 'node1'), ['10.244.0.4']))
    const { code, stderr } = await polder('delete pod b --timeout 0')
    expect(code).toBe(1)
    expect(stderr).toContain('its node still holds something of it')
  })

  test('by manifest, several, all; the missing are told and the rest is deleted', async () => {
    for (const name of ['a', 'b', 'c', 'web']) await putPod(node, name)
    const result = await polder('delete pod a nope b')
    expect(result.code).toBe(1)
    expect(result.stdout.split('\n').sort()).toEqual(['', 'pod "a" deleted', 'pod "b" deleted'])
    expect(result.stderr).toContain('Error: pod "nope" not found in namespace default.\n')
    expect((await polder('delete -f -', { stdin: POD })).stdout).toBe('pod "web" deleted\n')
    expect((await polder('delete pods --all')).stdout).toBe('pod "c" deleted\n')
    expect(await polder('delete pod c --ignore-not-found')).toMatchObject({ code: 0, stderr: '' })
  })

  test('a namespace with its pods', async () => {
    await polder('create ns shop')
    await polder('apply -n shop -f -', { stdin: POD })
    expect(await polder('delete ns shop')).toEqual({ code: 0, stdout: 'namespace "shop" deleted\n', stderr: '' })
    expect(node.store.list('Pod')).toEqual([])
  })
})

describe('run', () => {
  test('makes the pod that its options say', async () => {
    const words =
      'run web --image nginx --port 80 --env A=1 --env B=x=y --labels app=web --restart Never --node node9 --command -- sh -c ls'
    expect((await polder(words)).stdout).toBe('pod/web created\n')
    expect(node.store.get('Pod', 'web', 'default')).toMatchObject({
      metadata: { labels: { app: 'web' } },
      spec: {
        nodeName: 'node9',
        restartPolicy: 'Never',
        containers: [
          {
            name: 'web',
            image: 'nginx',
            command: ['sh', '-c', 'ls'],
            env: [
              { name: 'A', value: '1' },
              { name: 'B', value: 'x=y' },
            ],
            ports: [{ containerPort: 80 }],
          },
        ],
      },
    })
  })

  test('without --command the words are arguments; twice is an error', async () => {
    await polder('run box --image busybox -- sleep 5')
    expect(node.store.get('Pod', 'box', 'default')!.spec.containers[0]).toMatchObject({ args: ['sleep', '5'] })
    expect(node.store.get('Pod', 'box', 'default')!.metadata.labels).toEqual({ run: 'box' })
    expect((await polder('run box --image busybox')).stderr).toContain('pod "box" already exists in namespace default.')
  })
})

describe('wait', () => {
  test('for a condition', async () => {
    const pod = await putPod(node, 'a', 'node1')
    const waiting = polder('wait --for=condition=Ready pod/a')
    await node.store.putPodStatus(pod, runningStatus('node1', ['10.244.0.3']))
    expect(await waiting).toEqual({ code: 0, stdout: 'pod/a condition met\n', stderr: '' })
    expect((await polder('wait --for=phase=Running pods --all')).stdout).toBe('pod/a condition met\n')
  })

  test('for deletion, also of what is not there', async () => {
    await putPod(node, 'a')
    const waiting = polder('wait --for=delete pod/a pod/b')
    await node.store.delete({ kind: 'Pod', name: 'a', namespace: 'default' })
    expect((await waiting).stdout.split('\n').sort()).toEqual(['', 'pod/a deleted', 'pod/b deleted'])
  })

  test('its time is bounded, and the absent will not come', async () => {
    await putPod(node, 'a')
    const late = await polder('wait --for=condition=Ready pod/a --timeout 200ms')
    expect(late.code).toBe(1)
    expect(late.stderr).toContain('0.2 s have passed while waiting for condition Ready=True of pod/a.')
    expect((await polder('wait --for=condition=Ready pod/b')).stderr).toContain('pod "b" not found')
  })
})
