/**
 * polderd's API as whoever may open its socket can talk to it: bytes written to a connection that is then half closed.
 * Every input is answered, or its connection closed, within the time; no answer is a fault of polderd's own (500), and
 * afterwards the server still answers. Nothing is run: the node has no runtime.
 */
import { connect } from 'node:net'
import { makeScratch, startApiNode } from '../../support/api-node.ts'
import type { Target } from '../target.ts'

const ANSWER_MS_MAX = 5000
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

function exchange(socket: string, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = ''
    const connection = connect({ path: socket, allowHalfOpen: true })
    const timer = setTimeout(() => reject(new Error('neither answered nor closed')), ANSWER_MS_MAX)
    connection.setEncoding('latin1').on('data', (text: string) => (said += text))
    connection.on('error', () => {})
    connection.once('end', () => connection.destroy())
    connection.once('close', () => {
      clearTimeout(timer)
      resolve(said)
    })
    connection.end(bytes)
  })
}

const POD =
  '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"c","image":"i"}]}}'
const request = (head: string, body = '', more = ''): Uint8Array =>
  utf8(`${head} HTTP/1.1\r\nHost: polderd\r\nConnection: close\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`)

export async function openHttp(): Promise<Target> {
  const scratch = makeScratch()
  const node = await startApiNode(scratch.folder, 'node1', false)
  return {
    name: 'http',
    watches: /\/daemon\/api\//,
    seeds: [
      request('GET /v1/node'),
      request('GET /v1/counters'),
      request('GET /v1/objects/Pod?namespace=default'),
      request('PUT /v1/objects', POD),
      request('DELETE /v1/objects/Pod/default/web?grace=3'),
      request('GET /v1/pods/default/web/log?follow=false&tail=3'),
      request('POST /v1/pods/default/web/exec?command=true', '', 'Upgrade: polder-exec\r\nConnection: Upgrade\r\n'),
      request('POST /cni', '{"cniVersion":"1.0.0"}', 'CNI-Command: ADD\r\nCNI-Args: A=b\r\n'),
      utf8('GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'),
    ],
    words: [
      'GET ',
      'PUT ',
      'DELETE ',
      '/v1/',
      '/../',
      '%2e%2e%2f',
      '%00',
      '%',
      '?',
      '&',
      '//',
      '\r\n',
      '\r\n\r\n',
      'Transfer-Encoding: chunked\r\n',
      'Content-Length: 9999999\r\n',
      'Upgrade: x\r\n',
      'Expect: 100-continue\r\n',
      'HTTP/1.0',
      'HTTP/2.0',
      'Pod',
      'Node',
      'kube-system',
      '__proto__',
      'constructor',
    ].map(utf8),
    bytesMax: 1200,
    async run(input) {
      const said = await exchange(node.socket, input)
      const status = /^HTTP\/1\.1 (\d+)/.exec(said)?.[1] ?? 'closed'
      if (status === '500' && said.includes('"internal"')) throw new Error(`a fault of polderd: ${said.slice(-300)}`)
      return status
    },
    async close() {
      await node.stop()
      scratch.remove()
    },
  }
}
