/**
 * Where to: this node's pods first, then the longest prefix. And what fits through: the limit is the segment's size,
 * not the super-packet's.
 */
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_NO_ROUTE } from './drop-reason.ts'
import { drop, indexOf, kindOf, TO_PEER, toPod, type Verdict } from './verdict.ts'

export function route(packet: Packet, tables: Tables): Verdict {
  const { dst0, dst1, dst2, dst3 } = packet
  const port = tables.pods.lookup(dst0, dst1, dst2, dst3)
  if (port !== -1) return toPod(port)
  const found = tables.routes.lookup(dst0, dst1, dst2, dst3)
  return found === -1 ? drop(DROP_NO_ROUTE) : found
}

/** The largest IP packet that the next hop takes, in bytes. */
export function mtuBytes(verdict: Verdict, tables: Tables): number {
  return kindOf(verdict) === TO_PEER ? tables.peers.mtuBytes(indexOf(verdict)) : tables.mtuBytes
}
