/** Plain HTTP over a Unix socket, for tests that say things no well-behaved client would. */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { text } from 'node:stream/consumers'

export interface Answer {
  status: number
  /** Parsed, where it is JSON. */
  body: unknown
}

export async function call(socket: string, method: string, path: string, body?: string | Buffer): Promise<Answer> {
  const message = http.request({ socketPath: socket, method, path, agent: false })
  message.end(body)
  const [response] = (await once(message, 'response')) as [http.IncomingMessage]
  const answer = await text(response)
  const json = response.headers['content-type'] === 'application/json'
  return { status: response.statusCode!, body: json ? JSON.parse(answer) : answer }
}

/** Sends bytes as they are and answers with all that comes back until the other side closes. */
export async function sendRaw(socket: string, bytes: string): Promise<string> {
  const connection = net.connect(socket)
  connection.write(bytes)
  return text(connection)
}

/** The JSON of a GET that must succeed. */
export async function getJson<T>(socket: string, path: string): Promise<T> {
  const { status, body } = await call(socket, 'GET', path)
  if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`)
  return body as T
}
