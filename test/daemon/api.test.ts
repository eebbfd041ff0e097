/** The API over its real socket: objects, errors, limits, and requests that no client of ours would send. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ROUTES } from '../../daemon/api/routes.ts'
import { type ApiNode, attachmentOf, makeScratch, putPod, type Scratch, startApiNode } from '../support/api-node.ts'
import { call, sendRaw } from '../support/http.ts'
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

const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a' },
  spec: { containers: [{ name: 'c', image: 'i' }] },
}

function errorCode(answer: { body: unknown }): string {
  return (answer.body as { error: { code: string } }).error.code
}

describe('objects', () => {
  test('a pod is created, read, listed, changed and deleted', async () => {
    const put = (object: object) => call(node.socket, 'PUT', '/v1/objects', JSON.stringify(object))
    expect((await put(POD)).body).toEqual({ result: 'created' })
    expect((await put(POD)).body).toEqual({ result: 'unchanged' })
    expect((await put({ ...POD, metadata: { name: 'a', labels: { app: 'x' } } })).body).toEqual({
      result: 'configured',
    })
    const read = await call(node.socket, 'GET', '/v1/objects/Pod/default/a')
    expect(read).toMatchObject({
      status: 200,
      body: { kind: 'Pod', metadata: { namespace: 'default', labels: { app: 'x' } } },
    })
    const list = await call(node.socket, 'GET', '/v1/objects/Pod?namespace=default')
    expect(list.body).toEqual([read.body])
    expect((await call(node.socket, 'GET', '/v1/objects/Pod?namespace=other')).body).toEqual([])
    expect(await call(node.socket, 'DELETE', '/v1/objects/Pod/default/a')).toEqual({ status: 200, body: {} })
    expect((await call(node.socket, 'GET', '/v1/objects/Pod/default/a')).status).toBe(404)
  })

  test('a status from a client is not taken', async () => {
    await call(node.socket, 'PUT', '/v1/objects', JSON.stringify({ ...POD, status: { phase: 'Running' } }))
    expect(node.store.get('Pod', 'a', 'default')?.status).toBeUndefined()
  })

  test('a namespace takes its pods along', async () => {
    const put = (object: object) => call(node.socket, 'PUT', '/v1/objects', JSON.stringify(object))
    const inShop = { ...POD, metadata: { name: 'a', namespace: 'shop' } }
    expect(await put(inShop)).toMatchObject({
      status: 404,
      body: { error: { remedy: expect.stringContaining('polder create namespace shop') } },
    })
    await put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
    await put(inShop)
    expect((await call(node.socket, 'DELETE', '/v1/objects/Namespace/-/shop')).status).toBe(200)
    expect(node.store.list('Pod')).toEqual([])
    expect((await call(node.socket, 'DELETE', '/v1/objects/Namespace/-/default')).status).toBe(400)
  })
})

describe('deleting a pod and waiting for it', () => {
  test('answers when neither the runtime nor an attachment holds it', async () => {
    const pod = await putPod(node, 'a', 'node1')
    node.attachments.push(attachmentOf(pod, ['10.244.0.3']))
    node.runtime.held.push({ namespace: 'default', name: 'a', uid: pod.metadata.uid!, fingerprint: '' })
    const deleting = call(node.socket, 'DELETE', '/v1/objects/Pod/default/a?wait=30')
    let answered = false
    void deleting.then(() => {
      answered = true
    })
    await until(() => node.store.get('Pod', 'a', 'default') === undefined)
    node.attachments.length = 0
    await call(node.socket, 'GET', '/v1/node')
    expect(answered).toBe(false)
    node.runtime.held.length = 0
    expect((await deleting).body).toEqual({ gone: true })
  })

  test('says so when the time is up', async () => {
    const pod = await putPod(node, 'a', 'node1')
    node.attachments.push(attachmentOf(pod, ['10.244.0.3']))
    expect((await call(node.socket, 'DELETE', '/v1/objects/Pod/default/a?wait=0')).body).toEqual({ gone: false })
  })

  test('a later pod of the same name is another one', async () => {
    await putPod(node, 'a', 'node1')
    node.runtime.held.push({ namespace: 'default', name: 'a', uid: 'of-the-successor', fingerprint: '' })
    expect((await call(node.socket, 'DELETE', '/v1/objects/Pod/default/a?wait=0')).body).toEqual({ gone: true })
  })

  test('a pod of another node is not for this node to judge', async () => {
    await putPod(node, 'a', 'node2')
    expect((await call(node.socket, 'DELETE', '/v1/objects/Pod/default/a?wait=30')).body).toEqual({})
  })

  test('a pod on no node is gone at once', async () => {
    await putPod(node, 'a')
    expect((await call(node.socket, 'DELETE', '/v1/objects/Pod/default/a?wait=30')).body).toEqual({ gone: true })
  })
})

describe('what a node says of itself', () => {
  test('node, attachments, counters, problems', async () => {
    const pod = await putPod(node, 'a', 'node1')
    node.attachments.push(attachmentOf(pod, ['10.244.0.3', 'fd00:10:244::3']))
    node.counters.drops.push({ reason: 'spoofed', text: 'not its own address', packets: 3 })
    expect((await call(node.socket, 'GET', '/v1/node')).body).toMatchObject({ name: 'node1', mtuBytes: 1450 })
    expect((await call(node.socket, 'GET', '/v1/attachments')).body).toEqual(node.attachments)
    expect((await call(node.socket, 'GET', '/v1/counters')).body).toEqual(node.counters)
    expect((await call(node.socket, 'GET', '/v1/problems')).body).toEqual([])
  })

  test('a CNI call reaches its handler with headers and body, and its failure is a 500', async () => {
    const cni = (command: string) =>
      sendRaw(
        node.socket,
        `POST /cni HTTP/1.1\r\nHost: x\r\nX-CNI-Command: ${command}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      )
    expect(await cni('ADD')).toMatch(/^HTTP\/1.1 200 [\s\S]*\r\n\r\n.*"cniVersion":"1.0.0"/)
    expect(await cni('BAD')).toMatch(/^HTTP\/1.1 500 /)
    expect(node.cniCalls).toEqual(['ADD {}', 'BAD {}'])
  })
})

describe('what is wrong is answered with an ApiError', () => {
  test.each([
    ['an unknown path', 'GET', '/v2/nothing', undefined, 404, 'unknown-path'],
    ['a path that is too long', 'GET', '/v1/node/x', undefined, 404, 'unknown-path'],
    ['the root', 'GET', '/', undefined, 404, 'unknown-path'],
    ['a wrong method', 'POST', '/v1/node', undefined, 405, 'wrong-method'],
    ['an unknown kind', 'GET', '/v1/objects/Deployment', undefined, 404, 'unknown-kind'],
    ['an inherited property as kind', 'GET', '/v1/objects/constructor', undefined, 404, 'unknown-kind'],
    ['an absent pod', 'GET', '/v1/objects/Pod/default/none', undefined, 404, 'not-found'],
    ['an absent pod to delete', 'DELETE', '/v1/objects/Pod/default/none', undefined, 404, 'not-found'],
    ['a namespace where there is none', 'GET', '/v1/objects/Node/default/node1', undefined, 400, 'invalid'],
    ['a name that leads out of the folder', 'DELETE', '/v1/objects/Pod/default/..%2F..%2Fx', undefined, 400, 'invalid'],
    ['a namespace that leads out', 'GET', '/v1/objects/Pod/..%2F/x', undefined, 400, 'invalid'],
    ['a path that is not percent-encoded', 'GET', '/v1/objects/Pod/default/%zz', undefined, 400, 'invalid'],
    ['a wait that is no number', 'DELETE', '/v1/objects/Pod/default/x?wait=soon', undefined, 400, 'invalid'],
    ['no body', 'PUT', '/v1/objects', '', 400, 'invalid'],
    ['a body that is no manifest', 'PUT', '/v1/objects', '[[[', 400, 'bad-manifest'],
    ['a body with a mistake', 'PUT', '/v1/objects', '{"kind":"Pod"}', 400, 'bad-manifest'],
    ['two objects', 'PUT', '/v1/objects', `${JSON.stringify(POD)}\n---\n${JSON.stringify(POD)}`, 400, 'invalid'],
    ['a body over 1 MiB', 'PUT', '/v1/objects', 'x'.repeat((1 << 20) + 1), 413, 'too-large'],
  ])('%s', async (_, method, url, body, status, code) => {
    const answer = await call(node.socket, method, url, body)
    expect({ status: answer.status, code: errorCode(answer) }).toEqual({ status, code })
  })

  test('an unknown path comes with the list of routes', async () => {
    const { body } = await call(node.socket, 'GET', '/nothing')
    const { remedy } = (body as { error: { remedy: string } }).error
    for (const route of ROUTES) expect(remedy).toContain(`${route.method} ${route.path}`)
  })

  test('what is not HTTP at all', async () => {
    expect(await sendRaw(node.socket, 'hello\r\n\r\n')).toMatch(/^HTTP\/1.1 400 [\s\S]*"code":"invalid"/)
  })

  test('a head without end', async () => {
    const head = `GET /v1/node HTTP/1.1\r\nX: ${'x'.repeat(1 << 20)}`
    expect(await sendRaw(node.socket, head)).toMatch(/^HTTP\/1.1 431 [\s\S]*"code":"too-large"/)
  })

  test('a fault of ours', async () => {
    vi.spyOn(node.store, 'problems').mockImplementation(() => {
      throw new TypeError('boom')
    })
    const answer = await call(node.socket, 'GET', '/v1/problems')
    expect({ status: answer.status, code: errorCode(answer) }).toEqual({ status: 500, code: 'internal' })
  })
})

describe('the socket', () => {
  test('is for its owner alone', () => {
    expect(statSync(node.socket).mode & 0o777).toBe(0o600)
  })

  test('of a running polderd is not taken away', async () => {
    await expect(startApiNode(scratch.folder)).rejects.toMatchObject({ code: 'already-running' })
    expect((await call(node.socket, 'GET', '/v1/node')).status).toBe(200)
  })

  test('that a killed polderd left behind is replaced', async () => {
    const left = path.join(scratch.folder, 'node2', 'polderd.sock')
    mkdirSync(path.dirname(left))
    await leaveSocketBehind(left)
    const second = await startApiNode(scratch.folder, 'node2')
    expect((await call(left, 'GET', '/v1/node')).body).toMatchObject({ name: 'node2' })
    await second.stop()
  })

  test('is not put over a file that is something else', async () => {
    const file = path.join(scratch.folder, 'node2', 'polderd.sock')
    mkdirSync(path.dirname(file))
    writeFileSync(file, 'precious')
    await expect(startApiNode(scratch.folder, 'node2')).rejects.toMatchObject({ code: 'socket-unusable' })
    expect(statSync(file).size).toBe(8)
  })

  test('is gone after stop, and open connections are ended', async () => {
    const open = net.connect(node.socket)
    await new Promise((resolve) => open.once('connect', resolve))
    const ended = new Promise((resolve) => open.once('close', resolve))
    await node.api.stop()
    await ended
    expect(() => statSync(node.socket)).toThrow('ENOENT')
  })
})

/** Binds in a process that dies without closing: the kernel keeps the file. */
async function leaveSocketBehind(file: string): Promise<void> {
  const { execFileSync } = await import('node:child_process')
  const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 'SIGKILL'))`
  try {
    execFileSync(process.execPath, ['-e', script])
  } catch {
    // It was killed: that is what it is for.
  }
  statSync(file)
}
