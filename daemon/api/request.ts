/**
 * One request as a handler sees it: the parameters of its path, the query with its values checked, and a bounded body.
 */
import type http from 'node:http'
import type { Duplex } from 'node:stream'
import { PolderError } from '../errors.ts'
import { invalid } from './errors.ts'

export const BODY_BYTES_MAX = 1 << 20

export interface ApiRequest {
  /** The segments that stand for `:name` in the route's path, decoded. */
  params: Record<string, string>
  query: URLSearchParams
  message: http.IncomingMessage
  response: http.ServerResponse
  /** Present when the client asked for an upgrade: the raw connection. */
  upgraded?: Duplex
  /** Aborted when the client goes away, or the server stops, before the answer is complete. */
  signal: AbortSignal
}

/**
 * The body as text. One that is too large is read to its end and thrown away, so that the client, which is still
 * writing, gets to see the answer.
 */
export async function readBody(message: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk)
    else chunks.length = 0
  }
  if (bytes > BODY_BYTES_MAX) {
    throw new PolderError(
      'too-large',
      `The request body has ${bytes} bytes; at most ${BODY_BYTES_MAX} are taken.`,
      'Send the objects one at a time, or in smaller files.',
    )
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** A query value that must be true or false; absent is false. */
export function queryFlag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name)
  if (value === null || value === 'false') return false
  if (value === 'true') return true
  throw invalid(`Query value ${name}=${value} is not understood.`, `Say ${name}=true or ${name}=false.`)
}

/** A query value that must be a whole number from 0 to `max`; undefined when absent. */
export function queryCount(query: URLSearchParams, name: string, max: number): number | undefined {
  const value = query.get(name)
  if (value === null) return undefined
  const count = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
  if (count <= max) return count
  throw invalid(`Query value ${name}=${value} is not understood.`, `${name} is a whole number from 0 to ${max}.`)
}
