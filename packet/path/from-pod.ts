/**
 * The life of a packet that a pod sent, top to bottom. Every step is a line, every exit names its reason; a packet
 * that is refused is unchanged, because rewriting comes last.
 */
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_BAD_OFFLOAD, DROP_TTL_EXPIRED } from './drop-reason.ts'
import * as flows from './flow.ts'
import { guardPod } from './guard.ts'
import * as mtu from './mtu.ts'
import * as offload from './offload.ts'
import * as parser from './parse.ts'
import * as rewriting from './rewrite.ts'
import { route } from './route.ts'
import { serve } from './service.ts'
import * as verdicts from './verdict.ts'

// Names of this file's own: V8 folds these into the code, imported ones it loads at every use.
const { DROP, drop, kindOf, toPod } = verdicts
const { UNDECIDED, aim, decidedBefore, findFlow, keepFlow, wayBack } = flows
const { parse } = parser
const { limitSize, mtuBytes } = mtu
const { contradictsOffload } = offload
const { rewrite } = rewriting
type Verdict = verdicts.Verdict

/** `port` is the data plane's port of the pod that sent it. Decides, and rewrites what is to be delivered. */
export function fromPod(packet: Packet, port: number, tables: Tables): Verdict {
  const malformed = parse(packet)
  if (malformed !== 0) return drop(malformed)
  if (contradictsOffload(packet)) return drop(DROP_BAD_OFFLOAD)

  const flow = findFlow(packet, tables)
  aim(packet, flow, tables)
  const before = decidedBefore(flow, toPod(port), tables)

  const refused = before === UNDECIDED ? guardPod(packet, port, tables) : 0
  if (refused !== 0) return drop(refused)

  const unserved = before === UNDECIDED ? serve(packet, flow, toPod(port), tables) : 0
  if (unserved !== 0) return drop(unserved)

  if (packet.ttl <= 1) return drop(DROP_TTL_EXPIRED)

  const verdict = before === UNDECIDED ? wayBack(route(packet, tables), flow, tables) : before
  if (kindOf(verdict) === DROP) return verdict

  const unfit = limitSize(packet, mtuBytes(verdict, tables))
  if (unfit !== 0) return drop(unfit)

  const full = keepFlow(packet, flow, before, toPod(port), verdict, tables)
  if (full !== 0) return drop(full)

  rewrite(packet, verdict, tables)
  return verdict
}
