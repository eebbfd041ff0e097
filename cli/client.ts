/**
 * The API of one polderd, over its Unix socket (daemon/api/types.ts). Errors of the API arrive as the PolderErrors they
 * were; a socket that cannot be reached says what to do about it. One connection a request.
 */
import http from 'node:http'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import type {
  ApiError,
  Counters,
  DeleteAnswer,
  ExecRequest,
  Finding,
  FlowsAnswer,
  NodeInfo,
  PutAnswer,
} from '../daemon/api/types.ts'
import type { Attachment } from '../daemon/attachments/attachment.ts'
import type { ClusterObject, Kind, ObjectKey } from '../daemon/cluster/objects.ts'
import type { Problem, PutResult } from '../daemon/cluster/store.ts'
import { PolderError } from '../daemon/errors.ts'
import type { LogOptions } from '../daemon/runner/pod-runtime.ts'

const NODE_TIMEOUT_MS = 5000

type OfKind<K extends Kind> = Extract<ClusterObject, { kind: K }>

export interface DeleteQuery {
  /** Seconds to wait until a pod is gone; absent: do not. */
  wait?: number | undefined
  /** Seconds that a pod has to end; absent: as its manifest says. */
  grace?: number | undefined
  /** At once, and also where its node will never say that it has ended. */
  force?: true | undefined
}

export class Client {
  readonly socket: string

  constructor(socket: string) {
    this.socket = socket
  }

  /** The first question to a daemon: answered at once, or the daemon hangs. */
  async node(): Promise<NodeInfo> {
    const response = await this.send('GET', '/v1/node', undefined, AbortSignal.timeout(NODE_TIMEOUT_MS))
    return answerOf(response)
  }

  list<K extends Kind>(kind: K, namespace?: string): Promise<OfKind<K>[]> {
    const query = namespace === undefined ? '' : `?${new URLSearchParams({ namespace })}`
    return this.json('GET', `/v1/objects/${kind}${query}`)
  }

  get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<OfKind<K>> {
    return this.json('GET', objectPath({ kind, name, ...(namespace === undefined ? {} : { namespace }) }))
  }

  /** As get, but undefined where there is no such object. */
  async find<K extends Kind>(kind: K, name: string, namespace?: string): Promise<OfKind<K> | undefined> {
    try {
      return await this.get(kind, name, namespace)
    } catch (error) {
      if (error instanceof PolderError && error.code === 'not-found') return undefined
      throw error
    }
  }

  async put(object: ClusterObject): Promise<PutResult> {
    return (await this.json<PutAnswer>('PUT', '/v1/objects', JSON.stringify(object))).result
  }

  delete(key: ObjectKey, options: DeleteQuery = {}): Promise<DeleteAnswer> {
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(options)) if (value !== undefined) query.set(name, String(value))
    return this.json('DELETE', `${objectPath(key)}?${query}`)
  }

  problems(): Promise<Problem[]> {
    return this.json('GET', '/v1/problems')
  }

  attachments(): Promise<Attachment[]> {
    return this.json('GET', '/v1/attachments')
  }

  counters(): Promise<Counters> {
    return this.json('GET', '/v1/counters')
  }

  flows(narrow: Record<string, string>): Promise<FlowsAnswer> {
    return this.json('GET', `/v1/flows?${new URLSearchParams(narrow)}`)
  }

  findings(): Promise<Finding[]> {
    return this.json('GET', '/v1/findings')
  }

  /** The log as it comes. The stream fails where the log breaks off before its end. */
  async log(namespace: string, name: string, options: LogOptions): Promise<http.IncomingMessage> {
    const query = new URLSearchParams()
    for (const [key, value] of Object.entries(options)) if (value !== undefined) query.set(key, String(value))
    const response = await this.send('GET', `${podPath(namespace, name)}/log?${query}`)
    if (response.statusCode === 200) return response
    throw errorOf(response, await text(response))
  }

  /** The connection after the upgrade: frames both ways (daemon/api/exec-frames.ts). */
  exec(namespace: string, name: string, request: ExecRequest): Promise<Duplex> {
    const query = new URLSearchParams({ request: JSON.stringify(request) })
    return new Promise((resolve, reject) => {
      const message = http.request({
        socketPath: this.socket,
        method: 'POST',
        path: `${podPath(namespace, name)}/exec?${query}`,
        headers: { connection: 'Upgrade', upgrade: 'polder-exec' },
        agent: false,
      })
      message.once('upgrade', (_response, connection, head) => {
        if (head.length > 0) connection.unshift(head)
        resolve(connection)
      })
      message.once('response', (response) => {
        text(response).then((body) => reject(errorOf(response, body)), reject)
      })
      message.once('error', (error) => reject(cannotReach(this.socket, error)))
      message.end()
    })
  }

  private async json<T>(method: string, path: string, body?: string): Promise<T> {
    return answerOf(await this.send(method, path, body))
  }

  private send(method: string, path: string, body?: string, signal?: AbortSignal): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' }
      const message = http.request({
        socketPath: this.socket,
        method,
        path,
        headers,
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      })
      message.once('response', resolve)
      message.once('error', (error) => reject(cannotReach(this.socket, error)))
      message.end(body)
    })
  }
}

function objectPath(key: ObjectKey): string {
  return `/v1/objects/${key.kind}/${encodeURIComponent(key.namespace ?? '-')}/${encodeURIComponent(key.name)}`
}

function podPath(namespace: string, name: string): string {
  return `/v1/pods/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`
}

async function answerOf<T>(response: http.IncomingMessage): Promise<T> {
  const body = await text(response)
  if (response.statusCode !== 200) throw errorOf(response, body)
  return JSON.parse(body) as T
}

function errorOf(response: http.IncomingMessage, body: string): PolderError {
  try {
    const { code, message, remedy } = (JSON.parse(body) as ApiError).error
    return new PolderError(code, message, remedy)
  } catch {
    return new PolderError(
      'not-polderd',
      `The answer was HTTP ${response.statusCode} and not polderd's.`,
      'Check which program listens on that socket (--socket, POLDER_SOCKET).',
    )
  }
}

function cannotReach(socket: string, error: NodeJS.ErrnoException): PolderError {
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new PolderError('permission-denied', `No permission to talk to polderd on ${socket}.`, 'Run it with sudo.')
  }
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK') {
    return noDaemon(`No polderd answers on ${socket}.`)
  }
  if (error.name === 'AbortError' || error.name === 'TimeoutError') {
    return new PolderError(
      'no-answer',
      `polderd on ${socket} does not answer: ${NODE_TIMEOUT_MS / 1000} s have passed.`,
      'See what it does in its log, and restart it: systemctl restart polderd (or: sudo polder lab up)',
    )
  }
  return new PolderError(
    'connection-broken',
    `The connection to polderd on ${socket} broke: ${error.message}`,
    'See whether polderd still runs: polder version',
  )
}

export function noDaemon(message: string): PolderError {
  return new PolderError(
    'no-daemon',
    message,
    'Start a lab of several nodes on this machine: sudo polder lab up. Or start polderd here: systemctl start polderd',
  )
}
