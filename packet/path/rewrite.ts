/**
 * The last step: what the packet looks like when it leaves. Only here are bytes changed, so that everything before
 * saw the packet as its sender knew it.
 */
import * as ethernet from '../formats/ethernet.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import * as ecn from './ecn.ts'
import { translate } from './translate.ts'
import * as verdicts from './verdict.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { TO_PEER, indexOf, kindOf } = verdicts
const { decrementTtl } = ipv4
const { decrementHopLimit } = ipv6
const { inheritEcn, outerTosOf } = ecn
const { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } = ethernet
type Verdict = verdicts.Verdict

const ENVELOPE_BYTES = 22
/** VXLAN (8) and inner Ethernet (14) before the IP packet. */
export const ENCAPSULATION_BYTES = ENVELOPE_BYTES

export function rewrite(packet: Packet, verdict: Verdict, tables: Tables): void {
  if (packet.isTranslated) translate(packet)
  if (packet.family === 4) decrementTtl(packet.view, packet.at)
  else decrementHopLimit(packet.view, packet.at)
  if (kindOf(verdict) === TO_PEER) encapsulate(packet, indexOf(verdict), tables)
  else if (packet.outerTos !== 0) inheritEcn(packet)
}

/** Writes the peer's prepared header into the headroom; the packet (IP, or ARP as family 0) does not move. */
export function encapsulate(packet: Packet, peer: number, tables: Tables): void {
  const { view, at, family } = packet
  tables.peers.writeEncapsulation(peer, view, at - ENVELOPE_BYTES)
  view.setUint16(at - 2, family === 4 ? ETHERTYPE_IPV4 : family === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_ARP)
  packet.outerTos = outerTosOf(packet.tos, tables.copyDscp)
}
