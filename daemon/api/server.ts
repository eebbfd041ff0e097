/**
 * The HTTP server on polderd's Unix socket. It listens, finds the route (routes.ts), and turns whatever a handler throws
 * into an ApiError; what is answered is the handlers' affair. Who may open the socket (mode 0600: root) may do all.
 *
 * A socket file that nobody answers on is left over from a polderd that was killed, and is replaced; one that answers
 * belongs to a running polderd, and is not touched, unless that is being taken over. The socket is made under another
 * name and renamed, so that at no moment a client finds nobody.
 */
import { chmodSync, existsSync, linkSync, lstatSync, mkdirSync, renameSync, rmSync } from 'node:fs'
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
  /** `takesOver`: from a polderd that answers on the same path. */
  start(takesOver?: boolean): Promise<void>
  /** So that restore() can undo what a successor does to the path. */
  remember(): void
  /** The path leads here again. */
  restore(): void
  /** The path is another's. Resolves when the last connection has ended. */
  leave(): Promise<void>
  /** Ends every connection and removes the socket. */
  stop(): Promise<void>
}

export function createApi(options: ApiOptions): Api {
  const { socket, log } = options
  const server = http.createServer({ maxHeaderSize: HEADER_BYTES_MAX })
  const upgrades = new Set<Duplex>()
  const [fresh, kept] = [`${socket}.new`, `${socket}.old`]

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
    async start(takesOver = false) {
      mkdirSync(path.dirname(socket), { recursive: true, mode: 0o755 })
      await refuseTaken(socket, takesOver)
      await new Promise<void>((resolve, reject) => {
        const refuse = (error: NodeJS.ErrnoException) => reject(cannotListen(socket, error))
        server.once('error', refuse)
        server.listen(fresh, () => {
          server.off('error', refuse)
          resolve()
        })
        // Bound by now, and accepting only on the next turn of the loop: nobody slips in before the mode is set.
        if (server.listening) chmodSync(fresh, 0o600)
      })
      renameSync(fresh, socket)
      log.info({ socket }, 'api: listening')
    },
    remember() {
      rmSync(kept, { force: true })
      linkSync(socket, kept)
    },
    restore() {
      // Of two names of one file rename(2) changes nothing.
      renameSync(kept, socket)
      rmSync(kept, { force: true })
    },
    async leave() {
      rmSync(kept, { force: true })
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      await closed
    },
    async stop() {
      if (!server.listening) return
      rmSync(socket, { force: true })
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

async function refuseTaken(socket: string, takesOver: boolean): Promise<void> {
  rmSync(`${socket}.new`, { force: true })
  if (!existsSync(socket)) return
  if (!lstatSync(socket).isSocket())
    throw cannotListen(socket, Object.assign(new Error('it is no socket'), { code: 'EADDRINUSE' }))
  if (takesOver) return
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
