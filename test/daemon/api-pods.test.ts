/** Logs, exec and deletion with waiting, over the real socket, with a runtime that runs programs of this machine. */
import { appendFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Client } from '../../cli/client.ts'
import { decodeFrames, encodeFrame } from '../../daemon/api/exec-frames.ts'
import {
  EXEC_EXIT,
  EXEC_RESIZE,
  EXEC_STDERR,
  EXEC_STDIN,
  EXEC_STDOUT,
  type ExecRequest,
} from '../../daemon/api/types.ts'
import { type ApiNode, makeScratch, putPod, type Scratch, startApiNode } from '../support/api-node.ts'
import { call, sendRaw } from '../support/http.ts'
import { until } from '../support/until.ts'

let scratch: Scratch
let node: ApiNode
let client: Client

beforeEach(async () => {
  scratch = makeScratch()
  node = await startApiNode(scratch.folder)
  client = new Client(node.socket)
})

afterEach(async () => {
  await node.stop()
  scratch.remove()
})

/** Everything that came back, by channel. */
async function readAll(connection: Duplex) {
  const result = { stdout: '', stderr: '', exit: undefined as unknown }
  for await (const { channel, payload } of decodeFrames(connection)) {
    if (channel === EXEC_STDOUT) result.stdout += payload
    if (channel === EXEC_STDERR) result.stderr += payload
    if (channel === EXEC_EXIT) result.exit = JSON.parse(payload.toString())
  }
  return result
}

async function exec(request: ExecRequest) {
  return readAll(await client.exec('default', 'a', request))
}

describe('exec', () => {
  beforeEach(() => putPod(node, 'a', 'node1', ['first', 'second']))

  test('output of both streams and the exit code', async () => {
    const result = await exec({ command: ['sh', '-c', 'echo out; echo err >&2; exit 7'] })
    expect(result).toEqual({ stdout: 'out\n', stderr: 'err\n', exit: { exitCode: 7 } })
  })

  test('the first container, or the one that is named', async () => {
    const command = ['sh', '-c', 'echo $CONTAINER $TTY']
    expect((await exec({ command })).stdout).toBe('first false\n')
    expect((await exec({ command, container: 'second', tty: true })).stdout).toBe('second true\n')
  })

  test('standard input to its end, in many frames', async () => {
    const connection = await client.exec('default', 'a', { command: ['cat'], stdin: true })
    const reading = readAll(connection)
    for (let line = 0; line < 1000; line++) connection.write(encodeFrame(EXEC_STDIN, `${line}\n`))
    connection.write(encodeFrame(EXEC_STDIN, ''))
    const result = await reading
    expect(result.stdout.split('\n').length).toBe(1001)
    expect(result.exit).toEqual({ exitCode: 0 })
  })

  test('without stdin a command that reads sees the end at once', async () => {
    expect(await exec({ command: ['cat'] })).toEqual({ stdout: '', stderr: '', exit: { exitCode: 0 } })
  })

  test('megabytes both ways, byte for byte', async () => {
    const connection = await client.exec('default', 'a', { command: ['cat'], stdin: true })
    const bytes = Buffer.from(Array.from({ length: 3 << 20 }, (_, index) => 97 + ((index * index) % 26)))
    const reading = readAll(connection)
    for (let start = 0; start < bytes.length; start += 1 << 19) {
      connection.write(encodeFrame(EXEC_STDIN, bytes.subarray(start, start + (1 << 19))))
    }
    connection.write(encodeFrame(EXEC_STDIN, ''))
    expect((await reading).stdout === bytes.toString()).toBe(true)
  })

  test('a command that ends while input still comes', async () => {
    const connection = await client.exec('default', 'a', { command: ['true'], stdin: true })
    connection.on('error', () => {})
    const reading = readAll(connection)
    for (let round = 0; round < 64; round++) connection.write(encodeFrame(EXEC_STDIN, Buffer.alloc(1 << 16)))
    expect((await reading).exit).toEqual({ exitCode: 0 })
  })

  test('terminal sizes', async () => {
    const connection = await client.exec('default', 'a', { command: ['cat'], stdin: true, tty: true })
    const reading = readAll(connection)
    connection.write(encodeFrame(EXEC_RESIZE, '{"columns":0,"rows":0}')) // as a terminal without a size says
    connection.write(encodeFrame(EXEC_RESIZE, '{"columns":80,"rows":24}'))
    connection.write(encodeFrame(EXEC_RESIZE, '{"columns":120,"rows":50}'))
    connection.write(encodeFrame(EXEC_STDIN, ''))
    expect((await reading).exit).toEqual({ exitCode: 0 })
    expect(node.runtime.sizes).toEqual([
      { columns: 80, rows: 24 },
      { columns: 120, rows: 50 },
    ])
  })

  test('a client that goes away ends the command', async () => {
    const connection = await client.exec('default', 'a', { command: ['sleep', '1000'] })
    await until(() => node.runtime.running.size === 1)
    connection.destroy()
    await until(() => node.runtime.running.size === 0)
  })

  test('so does one that sends nonsense', async () => {
    const connection = await client.exec('default', 'a', { command: ['sleep', '1000'], stdin: true })
    await until(() => node.runtime.running.size === 1)
    connection.write(Buffer.from('ffffffffff', 'hex'))
    expect((await readAll(connection)).exit).toBeUndefined()
    await until(() => node.runtime.running.size === 0)
  })

  test('stopping the API ends the conversation', async () => {
    const connection = await client.exec('default', 'a', { command: ['sleep', '1000'] })
    await until(() => node.runtime.running.size === 1)
    await node.api.stop()
    expect((await readAll(connection)).exit).toBeUndefined()
    await until(() => node.runtime.running.size === 0)
  })

  test('a command that cannot be run is an error in the exit frame', async () => {
    const { exit } = await exec({ command: ['/no/such/command'] })
    expect(exit).toMatchObject({ error: { code: 'exec-failed', remedy: 'Check the command.' } })
  })

  test.each([
    ['no command', { command: [] }, 'invalid'],
    ['an unknown container', { command: ['true'], container: 'third' }, 'not-found'],
    ['a command that is no list', { command: 'ls' as unknown as string[] }, 'invalid'],
    ['an unknown field', { command: ['true'], user: 'root' }, 'invalid'],
  ])('%s is refused before the upgrade', async (_, request, code) => {
    await expect(exec(request)).rejects.toMatchObject({ code })
  })

  test('a request without upgrade, or to another protocol, is told what to send', async () => {
    const target = '/v1/pods/default/a/exec?request=%7B%22command%22%3A%5B%22true%22%5D%7D'
    expect(await call(node.socket, 'POST', target)).toMatchObject({ status: 426 })
    const raw = `POST ${target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
    expect(await sendRaw(node.socket, raw)).toMatch(/^HTTP\/1.1 426 [\s\S]*upgrade-required/)
  })

  test('an upgrade of any other path is an error too', async () => {
    const raw = 'GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: polder-exec\r\n\r\n'
    expect(await sendRaw(node.socket, raw)).toMatch(/^HTTP\/1.1 404 [\s\S]*unknown-path/)
  })

  test('frames may come in the same breath as the request', async () => {
    const query = new URLSearchParams({ request: JSON.stringify({ command: ['cat'], stdin: true }) })
    const connection = net.connect(node.socket)
    connection.write(
      `POST /v1/pods/default/a/exec?${query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: polder-exec\r\n\r\n`,
    )
    connection.write(Buffer.concat([encodeFrame(EXEC_STDIN, 'early'), encodeFrame(EXEC_STDIN, '')]))
    expect(await text(connection)).toContain(`${encodeFrame(EXEC_STDOUT, 'early')}`)
  })
})

describe('logs', () => {
  let file: string

  beforeEach(async () => {
    await putPod(node, 'a', 'node1', ['first', 'second'])
    file = path.join(scratch.folder, 'default.a.first')
    writeFileSync(file, 'one\ntwo\nthree\n')
  })

  const log = (query = '') => call(node.socket, 'GET', `/v1/pods/default/a/log${query}`)

  test.each([
    ['all of it', '', 'one\ntwo\nthree\n'],
    ['the last lines', '?tail=1', 'three\n'],
    ['none', '?tail=0', ''],
    ['with times', '?tail=1&timestamps=true', '2026-01-31T12:00:00Z three\n'],
    ['of a named container', '?container=first&follow=false', 'one\ntwo\nthree\n'],
  ])('%s', async (_, query, expected) => {
    expect(await log(query)).toEqual({ status: 200, body: expected })
  })

  test.each([
    ['a tail that is no number', '?tail=-1', 'invalid'],
    ['a flag that is none', '?follow=maybe', 'invalid'],
    ['an unknown container', '?container=third', 'not-found'],
    ['a container that wrote nothing', '?container=second', 'no-log'],
  ])('%s is an error', async (_, query, code) => {
    expect((await log(query)).body).toMatchObject({ error: { code } })
  })

  test('followed, it goes on as lines come, until the reader leaves', async () => {
    const stream = await client.log('default', 'a', { follow: true, tail: 1 })
    stream.setEncoding('utf8')
    let seen = ''
    stream.on('data', (chunk) => {
      seen += chunk
    })
    await until(() => seen === 'three\n')
    appendFileSync(file, 'four\n')
    await until(() => seen === 'three\nfour\n')
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.destroy()
    await closed
  })

  test('a log that breaks off is not taken for a whole one', async () => {
    const stream = await client.log('default', 'a', { follow: true })
    appendFileSync(file, 'BREAK\n')
    await expect(text(stream)).rejects.toThrow('aborted')
  })
})

describe('a pod that this node cannot reach into', () => {
  test.each([
    ['on another node', 'node2', 421, 'wrong-node', 'node2'],
    ['on no node yet', undefined, 503, 'not-ready', 'polder describe pod b'],
  ])('%s', async (_, nodeName, status, code, remedy) => {
    await putPod(node, 'b', nodeName)
    const answer = await call(node.socket, 'GET', '/v1/pods/default/b/log')
    expect(answer).toMatchObject({ status, body: { error: { code, remedy: expect.stringContaining(remedy) } } })
    await expect(client.exec('default', 'b', { command: ['true'] })).rejects.toMatchObject({ code })
  })

  test('that does not exist', async () => {
    await expect(client.exec('default', 'none', { command: ['true'] })).rejects.toMatchObject({ code: 'not-found' })
  })

  test('while the runner is off', async () => {
    const other = await startApiNode(scratch.folder, 'node2', false)
    await putPod(other, 'b', 'node2')
    expect(await call(other.socket, 'GET', '/v1/pods/default/b/log')).toMatchObject({ status: 501 })
    await other.stop()
  })
})
