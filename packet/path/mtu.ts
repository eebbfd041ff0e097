/**
 * What fits through to the next hop. The limit is the segment's size, not the super-packet's. What does not fit and may
 * be cut (IPv4 with DF clear, RFC 791) is cut: a TCP super-packet into smaller segments, anything else into fragments.
 * What may not be cut is dropped and answered, so that path MTU discovery works (RFC 1191, RFC 8201).
 */
import * as ipv4 from '../formats/ipv4.ts'
import * as slot from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_TOO_BIG } from './drop-reason.ts'
import * as verdicts from './verdict.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { DIRECT, TO_PEER } = verdicts
const { indexOf, kindOf } = verdicts
const { GSO_ECN, GSO_NONE, GSO_TCPV4, segmentBytes } = slot
type Packet = slot.Packet
type Verdict = verdicts.Verdict

/** The largest IP packet that the next hop takes, in bytes. */
export function mtuBytes(verdict: Verdict, tables: Tables): number {
  const kind = kindOf(verdict)
  return kind === TO_PEER || kind === DIRECT ? tables.peers.mtuBytes(indexOf(verdict)) : tables.mtuBytes
}

/** Answers 0, or the drop reason; prepares the cut where one is needed. */
export function limitSize(packet: Packet, limitBytes: number): number {
  if (segmentBytes(packet) <= limitBytes) return 0
  if (packet.family !== 4 || ipv4.dontFragment(packet.view, packet.at)) return DROP_TOO_BIG
  if (packet.gsoType === GSO_NONE) packet.fragmentBytes = limitBytes
  else if ((packet.gsoType & ~GSO_ECN) === GSO_TCPV4) packet.gsoSizeBytes = limitBytes - (packet.payload - packet.at)
  else return DROP_TOO_BIG
  return 0
}
