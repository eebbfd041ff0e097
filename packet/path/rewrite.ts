/**
 * The last step: what the packet looks like when it leaves. Only here are bytes changed, so that everything before
 * saw the packet as its sender knew it.
 */
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../formats/ethernet.ts'
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import { inheritEcn, outerTosOf } from './ecn.ts'
import { indexOf, kindOf, TO_PEER, type Verdict } from './verdict.ts'

/** VXLAN (8) and inner Ethernet (14) before the IP packet. */
export const ENCAPSULATION_BYTES = 22

export function rewrite(packet: Packet, verdict: Verdict, tables: Tables): void {
  if (packet.family === 4) ipv4.decrementTtl(packet.view, packet.at)
  else ipv6.decrementHopLimit(packet.view, packet.at)
  if (kindOf(verdict) === TO_PEER) encapsulate(packet, indexOf(verdict), tables)
  else if (packet.outerTos !== 0) inheritEcn(packet)
}

/** Writes the peer's prepared header into the headroom; the packet (IP, or ARP as family 0) does not move. */
export function encapsulate(packet: Packet, peer: number, tables: Tables): void {
  const { view } = packet
  const { peers } = tables
  const at = packet.at - ENCAPSULATION_BYTES
  for (let i = 0; i < 5; i++) view.setInt32(at + i * 4, peers.encapsulationWord(peer, i))
  const { family } = packet
  view.setUint16(packet.at - 2, family === 4 ? ETHERTYPE_IPV4 : family === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_ARP)
  packet.outerTos = outerTosOf(packet.tos, tables.copyDscp)
}
