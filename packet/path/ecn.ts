/**
 * Congestion marks and tunnels, RFC 6040: what is marked on the underlay must reach the packet inside, and a packet
 * whose sender does not know of marks must not lose its own way of learning about congestion, which is loss.
 */
import * as ipv4 from '../formats/ipv4.ts'
import * as ipv6 from '../formats/ipv6.ts'
import type { Packet } from '../packet.ts'

const NOT_ECT = 0
const ECT_1 = 1
const CE = 3
const ECN_MASK = 3

/** The outer TOS for a packet with this inner one: ECN is copied (4.1, normal mode), the DSCP where it is wanted. */
export function outerTosOf(innerTos: number, copyDscp: boolean): number {
  return copyDscp ? innerTos : innerTos & ECN_MASK
}

/** Congestion was marked on a packet whose sender cannot hear of it: it must be dropped (4.2). */
export function lostToCongestion(packet: Packet): boolean {
  return (packet.outerTos & ECN_MASK) === CE && (packet.tos & ECN_MASK) === NOT_ECT
}

/** Takes the outer mark over into the packet (4.2, figure 4), where that changes anything. */
export function inheritEcn(packet: Packet): void {
  const inner = packet.tos & ECN_MASK
  const outer = packet.outerTos & ECN_MASK
  if (inner === NOT_ECT || inner === CE || (outer !== CE && outer !== ECT_1) || inner === outer) return
  if (packet.family === 4) ipv4.setEcn(packet.view, packet.at, outer)
  else ipv6.setEcn(packet.view, packet.at, outer)
}
