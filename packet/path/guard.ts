/**
 * Who may say what. A pod sends only from its own addresses; a peer only from what is routed to it, and for those
 * beyond the cluster who talk to our pods; the host never from what belongs to a pod or a peer. Loopback, multicast and broadcast are never a source, and never carried.
 *
 * Each guard answers 0, or the drop reason.
 */
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import {
  DROP_LINK_LOCAL,
  DROP_MARTIAN,
  DROP_MULTICAST,
  DROP_SPOOFED_HOST,
  DROP_SPOOFED_PEER,
  DROP_SPOOFED_POD,
} from './drop-reason.ts'
import { direct, kindOf, TO_PEER, toPeer, WORLD } from './verdict.ts'

const LINK_LOCAL_MASK = 0xffc00000 | 0
const LINK_LOCAL = 0xfe800000 | 0

/** Addresses that never travel between pods, whoever sends them. */
function guardAddresses(packet: Packet): number {
  if (packet.family === 4) {
    const src = packet.src3 >>> 24
    const dst = packet.dst3 >>> 24
    if (dst >= 224) return dst < 240 || packet.dst3 === -1 ? DROP_MULTICAST : DROP_MARTIAN
    if (src === 127 || dst === 127 || src === 0 || dst === 0 || src >= 224) return DROP_MARTIAN
    return 0
  }
  if (packet.dst0 >>> 24 === 0xff) return DROP_MULTICAST
  if ((packet.src0 & LINK_LOCAL_MASK) === LINK_LOCAL || (packet.dst0 & LINK_LOCAL_MASK) === LINK_LOCAL) {
    return DROP_LINK_LOCAL
  }
  // ::, ::1 and everything else below 1::/16, IPv4-mapped addresses among them: on a wire they would pass for IPv4.
  if (packet.src0 >>> 16 === 0 || packet.dst0 >>> 16 === 0 || packet.src0 >>> 24 === 0xff) return DROP_MARTIAN
  return 0
}

export function guardPod(packet: Packet, port: number, tables: Tables): number {
  const refused = guardAddresses(packet)
  if (refused !== 0) return refused
  const owner = tables.pods.lookup(packet.src0, packet.src1, packet.src2, packet.src3)
  return owner === port ? 0 : DROP_SPOOFED_POD
}

/**
 * The way back must lead to the peer that sent it (strict reverse path), with or without an envelope; or beyond the
 * cluster, to someone who came to our pod through that node and is answered through it.
 */
export function guardPeer(packet: Packet, peer: number, tables: Tables): number {
  const refused = guardAddresses(packet)
  if (refused !== 0) return refused
  const back = tables.routes.lookup(packet.src0, packet.src1, packet.src2, packet.src3)
  if (back === toPeer(peer) || back === direct(peer)) return 0
  return back === WORLD && isOurPod(packet, tables) ? 0 : DROP_SPOOFED_PEER
}

function isOurPod({ dst0, dst1, dst2, dst3 }: Packet, tables: Tables): boolean {
  return tables.pods.lookup(dst0, dst1, dst2, dst3) !== -1
}

export function guardHost(packet: Packet, tables: Tables): number {
  const refused = guardAddresses(packet)
  if (refused !== 0) return refused
  if (tables.pods.lookup(packet.src0, packet.src1, packet.src2, packet.src3) !== -1) return DROP_SPOOFED_HOST
  const back = tables.routes.lookup(packet.src0, packet.src1, packet.src2, packet.src3)
  return kindOf(back) === TO_PEER ? DROP_SPOOFED_HOST : 0
}
