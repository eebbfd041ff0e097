/**
 * The HTTP server on polderd's Unix socket. It listens, finds the route (routes.ts), and turns whatever a handler throws
 * into an ApiError; what is answered is the handlers' affair. Who may open the socket (mode 0600: root) may do all.
 *
 * A socket file that nobody answers on is left over from a polderd that was killed, and is replaced; one that answers
 * belongs to a running polderd, and is not touched.
 */
import { chmodSync, existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { PolderError } from '../errors.ts'
import type { ApiContext } from './context.ts'
import { answerError } from './errors.ts'
import { findRoute } from './routes.ts'

/** An exec request travels in the query, and one argument of a command may have 128 KiB before it is encoded. */
const HEADER_BYTES_MAX = 1 << 20

export interface ApiOptions extends ApiContext {
  /** Path of the Unix socket. */
  socket: string
}

export interface Api {
  start(): Promise<void>
  /** Ends every connection and removes the socket. */
  stop(): Promise<void>
}

export function createApi(options: ApiOptions): Api {
  const { socket, log } = options
  const server = http.createServer({ maxHeaderSize: HEADER_BYTES_MAX })
  const upgrades = new Set<Duplex>()

  server.on('request', (message, response) => void dispatch(options, message, response))
  server.on('upgrade', (message, connection, head) => {
    upgrades.add(connection)
    connection.once('close', () => upgrades.delete(connection))
    connection.on('error', (error) => log.debug({ err: error }, 'api: an upgraded connection broke'))
    if (head.length > 0) connection.unshift(head)
    const response = new http.ServerResponse(message)
    response.assignSocket(connection as net.Socket)
    response.shouldKeepAlive = false
    response.once('finish', () => connection.end())
    void dispatch(options, message, response, connection)
  })
  server.on('clientError', refuseMalformed)

  return {
    async start() {
      mkdirSync(path.dirname(socket), { recursive: true, mode: 0o755 })
      await removeStale(socket)
      await new Promise<void>((resolve, reject) => {
        const refuse = (error: NodeJS.ErrnoException) => reject(cannotListen(socket, error))
        server.once('error', refuse)
        server.listen(socket, () => {
          server.off('error', refuse)
          resolve()
        })
        // Bound by now, and accepting only on the next turn of the loop: nobody slips in before the mode is set.
        if (server.listening) chmodSync(socket, 0o600)
      })
      log.info({ socket }, 'api: listening')
    },
    async stop() {
      if (!server.listening) return
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      for (const connection of upgrades) connection.destroy()
      await closed
    },
  }
}

async function dispatch(
  options: ApiOptions,
  message: http.IncomingMessage,
  response: http.ServerResponse,
  upgraded?: Duplex,
): Promise<void> {
  const gone = new AbortController()
  const goneSource = upgraded ?? response
  goneSource.once('close', () => gone.abort())
  // A write that comes too late is the writer's fault, and no reason for polderd to end.
  response.on('error', (error) => options.log.debug({ err: error }, 'api: a late write to an answer'))
  try {
    const url = new URL(`http://polderd${message.url}`)
    const { route, params } = findRoute(message.method!, url.pathname)
    const answer = await route.handle(options, {
      params,
      query: url.searchParams,
      message,
      response,
      signal: gone.signal,
      ...(upgraded === undefined ? {} : { upgraded }),
    })
    if (route.streams !== true) sendJson(response, 200, answer)
  } catch (error) {
    const { status, body } = answerError(error)
    if (status === 500) options.log.error({ err: error, method: message.method, url: message.url }, 'api: failed')
    // A body that has begun cannot turn into an error any more: cut it off, so that nobody takes it for whole.
    if (response.headersSent) response.destroy()
    else sendJson(response, status, body)
  }
}

function sendJson(response: http.ServerResponse, status: number, value: unknown): void {
  if (response.destroyed || response.writableEnded) return
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

/** What Node's parser refused before it became a request. */
function refuseMalformed(error: NodeJS.ErrnoException, connection: Duplex): void {
  if (!connection.writable) {
    connection.destroy()
    return
  }
  const tooLong = error.code === 'HPE_HEADER_OVERFLOW'
  const { body } = answerError(
    tooLong
      ? new PolderError('too-large', 'The request head is too long.', `At most ${HEADER_BYTES_MAX} bytes are taken.`)
      : new PolderError(
          'invalid',
          `This is not HTTP/1.1: ${error.message}`,
          'Use the polder command, or an HTTP client.',
        ),
  )
  const text = JSON.stringify(body)
  const status = tooLong ? '431 Request Header Fields Too Large' : '400 Bad Request'
  connection.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n` +
      `Connection: close\r\n\r\n${text}`,
  )
}

async function removeStale(socket: string): Promise<void> {
  if (!existsSync(socket)) return
  const code = await new Promise<string>((resolve) => {
    const probe = net.connect(socket)
    probe.once('connect', () => {
      probe.destroy()
      resolve('answers')
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
  })
  if (code === 'answers') {
    throw new PolderError(
      'already-running',
      `Another polderd answers on ${socket}.`,
      'Stop that one first, or give this one a socket of its own (--socket).',
    )
  }
  // A file that is no socket refuses connections too, and is not ours to remove: listening on it will fail.
  if (code === 'ECONNREFUSED' && lstatSync(socket).isSocket()) unlinkSync(socket)
}

function cannotListen(socket: string, error: NodeJS.ErrnoException): PolderError {
  return new PolderError(
    'socket-unusable',
    `Cannot listen on ${socket}: ${error.message}`,
    error.code === 'EADDRINUSE'
      ? 'Something that is not a socket lies there: move it away, or set another path (--socket).'
      : 'Run polderd as root, or set a path it may write to (--socket).',
  )
}
