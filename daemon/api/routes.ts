/**
 * Everything the API answers, in one table. A path segment `:name` matches anything and becomes a parameter; what a
 * handler returns is sent as JSON with status 200, unless it has taken over the response or the connection itself
 * (`streams`). The shapes are in types.ts.
 */
import type http from 'node:http'
import { PolderError } from '../errors.ts'
import { TAKEOVER_PATH, TAKEOVER_UPGRADE } from '../handover/takeover.ts'
import type { ApiContext } from './context.ts'
import { invalid } from './errors.ts'
import { listFlows } from './flows.ts'
import { deleteObject, getObject, listObjects, putObject } from './objects.ts'
import { execInPod, streamLog } from './pods.ts'
import { type ApiRequest, readBody } from './request.ts'

interface Route {
  method: string
  path: string
  handle: (context: ApiContext, request: ApiRequest) => unknown
  streams?: true
}

export const ROUTES: Route[] = [
  { method: 'GET', path: '/v1/node', handle: (context) => context.info() },
  { method: 'GET', path: '/v1/objects/:kind', handle: listObjects },
  { method: 'GET', path: '/v1/objects/:kind/:namespace/:name', handle: getObject },
  { method: 'PUT', path: '/v1/objects', handle: putObject },
  { method: 'DELETE', path: '/v1/objects/:kind/:namespace/:name', handle: deleteObject },
  { method: 'GET', path: '/v1/problems', handle: (context) => context.store.problems() },
  { method: 'GET', path: '/v1/attachments', handle: (context) => context.attachments.list() },
  { method: 'GET', path: '/v1/findings', handle: (context) => context.findings() },
  { method: 'GET', path: '/v1/counters', handle: (context) => context.counters() },
  { method: 'GET', path: '/v1/flows', handle: listFlows },
  { method: 'GET', path: '/v1/pods/:namespace/:name/log', handle: streamLog, streams: true },
  { method: 'POST', path: '/v1/pods/:namespace/:name/exec', handle: execInPod, streams: true },
  { method: 'POST', path: '/cni', handle: answerCni, streams: true },
  { method: 'POST', path: TAKEOVER_PATH, handle: answerTakeover, streams: true },
]

/** The route of a request and the parameters in its path; throws where there is none. */
export function findRoute(method: string, pathname: string): { route: Route; params: Record<string, string> } {
  const segments = decodeSegments(pathname)
  const matches = ROUTES.flatMap((route) => {
    const params = matchPath(route.path, segments)
    return params === undefined ? [] : [{ route, params }]
  })
  if (matches.length === 0) {
    throw new PolderError(
      'unknown-path',
      `There is nothing at ${pathname}.`,
      `The API has: ${ROUTES.map((route) => `${route.method} ${route.path}`).join(', ')}`,
    )
  }
  const found = matches.find((match) => match.route.method === method)
  if (found !== undefined) return found
  const methods = matches.map((match) => match.route.method).join(' or ')
  throw new PolderError('wrong-method', `${pathname} does not answer ${method}.`, `Send ${methods}.`)
}

function decodeSegments(pathname: string): string[] {
  try {
    return pathname.split('/').map(decodeURIComponent)
  } catch {
    throw invalid(`The path ${pathname} is not percent-encoded UTF-8.`, 'Encode "%" itself as %25.')
  }
}

function matchPath(path: string, segments: string[]): Record<string, string> | undefined {
  const pattern = path.split('/')
  if (pattern.length !== segments.length) return undefined
  const params: Record<string, string> = {}
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index]!
    if (part.startsWith(':') && segment !== '') params[part.slice(1)] = segment
    else if (part !== segment) return undefined
  }
  return params
}

async function answerTakeover(context: ApiContext, { upgraded, message }: ApiRequest): Promise<void> {
  if (upgraded === undefined || message.headers.upgrade?.toLowerCase() !== TAKEOVER_UPGRADE) {
    throw new PolderError(
      'upgrade-required',
      `A takeover needs a connection that is upgraded to ${TAKEOVER_UPGRADE}.`,
      'Use: polderd --takeover, or --reload',
    )
  }
  upgraded.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${TAKEOVER_UPGRADE}\r\n\r\n`)
  await context.takeover(upgraded)
}

async function answerCni(context: ApiContext, request: ApiRequest): Promise<void> {
  const message: http.IncomingMessage = request.message
  const { ok, body } = await context.cni(message.headers, await readBody(message))
  // With its length: so the plugin can tell a whole answer from one that was cut off.
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  request.response.writeHead(ok ? 200 : 500, headers).end(body)
}
