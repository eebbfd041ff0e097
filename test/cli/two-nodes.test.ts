/**
 * Two nodes of one cluster, found as those of a lab: each pod is reached through its own node. Needs root, because a
 * lab's sockets lie under /run; on a machine with a polderd of its own the command would talk to that one.
 */
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type ApiNode,
  attachmentOf,
  makeScratch,
  putPod,
  runningStatus,
  type Scratch,
  startApiNode,
} from '../support/api-node.ts'
import { runCli } from '../support/cli.ts'
import { until } from '../support/until.ts'

const LAB = `t${process.pid}`
const LAB_FOLDER = `/run/polder-lab/${LAB}`

describe.skipIf(process.getuid!() !== 0 || existsSync('/run/polder/polderd.sock'))('a lab of two nodes', () => {
  let scratch: Scratch
  let node1: ApiNode
  let node2: ApiNode

  beforeAll(async () => {
    scratch = makeScratch()
    node1 = await startApiNode(scratch.folder, 'node1')
    node2 = await startApiNode(scratch.folder, 'node2')
    for (const { name, socket } of [node1, node2]) {
      mkdirSync(path.join(LAB_FOLDER, name), { recursive: true })
      symlinkSync(path.dirname(socket), path.join(LAB_FOLDER, name, 'run-polder'))
    }
    const pod = await putPod(node1, 'far', 'node2')
    await node1.store.putPodStatus(pod, runningStatus('node2', ['10.244.2.3']))
    node2.attachments.push(attachmentOf(pod, ['10.244.2.3']))
    await until(() => node2.store.get('Pod', 'far', 'default')?.status !== undefined)
  })

  afterAll(async () => {
    await node1.stop()
    await node2.stop()
    rmSync(LAB_FOLDER, { recursive: true, force: true })
    scratch.remove()
  })

  const polder = (...words: string[]) => runCli(words, { env: { POLDER_LAB: LAB, POLDER_SOCKET: '' } })

  test('exec and logs reach the node of the pod', async () => {
    expect((await polder('exec', 'far', '--', 'sh', '-c', 'echo $POD')).stdout).toBe('far\n')
    writeFileSync(path.join(scratch.folder, 'default.far.main'), 'hello\n')
    expect((await polder('logs', 'far')).stdout).toBe('hello\n')
  })

  test('attachments are those of all nodes', async () => {
    node1.attachments.push(attachmentOf(await putPod(node1, 'near', 'node1'), ['10.244.1.3']))
    const { stdout } = await polder('get', 'attachments', '--no-headers')
    expect(stdout).toMatch(/^id-of-near +.* node1 .*\nid-of-far +.* node2 .*\n$/)
    expect((await polder('describe', 'pod', 'far')).stdout).toContain('id-of-far')
    node1.attachments.length = 0
  })

  test('version names both', async () => {
    expect((await polder('version')).stdout).toMatch(/on node1 [\s\S]*on node2 /)
  })

  test('a namespace is left to whichever node takes it, and the way in goes through the lab', async () => {
    const creating = polder('netns', 'create', 'n')
    await until(() => node1.store.get('Pod', 'n', 'default') !== undefined)
    const pod = node1.store.get('Pod', 'n', 'default')!
    expect(pod.spec.nodeName).toBeUndefined()
    await node1.store.bind(pod, 'node2')
    await node1.store.putPodStatus(node1.store.get('Pod', 'n', 'default')!, runningStatus('node2', ['10.244.2.4'], []))
    expect((await creating).stdout).toContain('sudo polder lab exec node2 -- ip netns exec n ping')
  })

  test('delete waits at the node of the pod', async () => {
    const deleting = polder('delete', 'pod', 'far')
    await until(() => node2.store.get('Pod', 'far', 'default') === undefined)
    node2.attachments.length = 0
    expect(await deleting).toEqual({ code: 0, stdout: 'pod "far" deleted\n', stderr: '' })
  })

  test('one node less, and the other still answers', async () => {
    await node1.api.stop()
    expect((await polder('get', 'pods')).code).toBe(0)
    await node1.api.start()
  })
})
