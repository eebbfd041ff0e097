/** GET /v1/flows: what the flow table holds, as far as it is asked for. */
import type { FlowRecord } from '../../packet/tables/flow-list.ts'
import type { ApiContext } from './context.ts'
import { invalid } from './errors.ts'
import type { ApiRequest } from './request.ts'
import type { FlowsAnswer } from './types.ts'

const DEFAULT_LIMIT = 1000
const MAX_LIMIT = 100_000

/** `address` (of either end), `port` (of either end), `protocol` (a number) and `limit` narrow it down. */
export function listFlows(context: ApiContext, { query }: ApiRequest): FlowsAnswer {
  const limit = Number(query.get('limit') ?? DEFAULT_LIMIT)
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalid(`limit=${query.get('limit')} is no number from 1 to ${MAX_LIMIT}.`, 'Ask for fewer flows at a time.')
  }
  const flows: FlowRecord[] = []
  let matching = 0
  for (const flow of context.flows()) {
    if (!matches(flow, query)) continue
    if (++matching <= limit) flows.push(flow)
  }
  return { flows, matching }
}

function matches({ protocol, source, destination, backend }: FlowRecord, query: URLSearchParams): boolean {
  const ends = [source, destination, backend]
  const address = query.get('address')
  const port = query.get('port')
  return (
    (address === null || ends.some((end) => end.address === address)) &&
    (port === null || ends.some((end) => end.port === Number(port))) &&
    [null, String(protocol)].includes(query.get('protocol'))
  )
}
