/**
 * The life of a packet that the host routed to polder0: its own, or one it forwards from the world to a pod. The host
 * never gets its own packets back.
 */
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_BAD_OFFLOAD, DROP_NO_ROUTE, DROP_TTL_EXPIRED } from './drop-reason.ts'
import * as flows from './flow.ts'
import { guardHost } from './guard.ts'
import * as mtu from './mtu.ts'
import * as offload from './offload.ts'
import * as parser from './parse.ts'
import * as rewriting from './rewrite.ts'
import { route } from './route.ts'
import { serve } from './service.ts'
import * as verdicts from './verdict.ts'

// Names of this file's own: V8 folds these into the code, imported ones it loads at every use.
const { DIRECT, DROP, drop, HOST, kindOf, TO_HOST } = verdicts
const { UNDECIDED, aim, decidedBefore, findFlow, keepFlow } = flows
const { parse } = parser
const { limitSize, mtuBytes } = mtu
const { contradictsOffload } = offload
const { rewrite } = rewriting
type Verdict = verdicts.Verdict

export function fromHost(packet: Packet, tables: Tables): Verdict {
  const malformed = parse(packet)
  if (malformed !== 0) return drop(malformed)
  if (contradictsOffload(packet)) return drop(DROP_BAD_OFFLOAD)

  const flow = findFlow(packet, tables)
  aim(packet, flow, tables)
  const before = decidedBefore(flow, HOST, tables)

  const refused = before === UNDECIDED ? guardHost(packet, tables) : 0
  if (refused !== 0) return drop(refused)

  const unserved = before === UNDECIDED ? serve(packet, flow, HOST, tables) : 0
  if (unserved !== 0) return drop(unserved)

  if (packet.ttl <= 1) return drop(DROP_TTL_EXPIRED)

  const verdict = before === UNDECIDED ? route(packet, tables) : before
  if (kindOf(verdict) === DROP) return verdict
  const own = kindOf(verdict) === TO_HOST && !packet.isTranslated
  if (own || kindOf(verdict) === DIRECT) return drop(DROP_NO_ROUTE)

  const unfit = limitSize(packet, mtuBytes(verdict, tables))
  if (unfit !== 0) return drop(unfit)

  const full = keepFlow(packet, flow, before, HOST, verdict, tables)
  if (full !== 0) return drop(full)

  rewrite(packet, verdict, tables)
  return verdict
}
