/**
 * Where to: this node's pods first, then the longest prefix.
 */
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_NO_ROUTE } from './drop-reason.ts'
import { drop, toPod, type Verdict } from './verdict.ts'

export function route(packet: Packet, tables: Tables): Verdict {
  const { dst0, dst1, dst2, dst3 } = packet.isTranslated ? packet.leaves : packet
  const port = tables.pods.lookup(dst0, dst1, dst2, dst3)
  if (port !== -1) return toPod(port)
  const found = tables.routes.lookup(dst0, dst1, dst2, dst3)
  return found === -1 ? drop(DROP_NO_ROUTE) : found
}
