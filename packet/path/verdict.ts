/**
 * What becomes of a packet, as one number, so that deciding allocates nothing: the kind in the high byte, the pod's
 * port, the peer's index or the drop reason below it. (A dropped packet may be answered too: see drop-reason.ts.)
 */
export const TO_POD = 1
export const TO_PEER = 2
export const TO_HOST = 3
export const DROP = 4
/** Taken in by the node itself, which answers. */
export const ANSWER = 5
/** To a peer on the same link, through the host's routes, without an envelope. */
export const DIRECT = 6

export type VerdictKind = typeof TO_POD | typeof TO_PEER | typeof TO_HOST | typeof DROP | typeof ANSWER | typeof DIRECT
export type Verdict = number

const KIND_SHIFT = 24
const INDEX_MASK = 0xffffff
const POD_KIND = TO_POD << KIND_SHIFT
const PEER_KIND = TO_PEER << KIND_SHIFT

/** For the node itself: one of its own addresses. */
export const HOST: Verdict = TO_HOST << KIND_SHIFT
/** Through the host to whatever lies beyond: the host's routes decide. Open to this node's pods only. */
export const WORLD: Verdict = (TO_HOST << KIND_SHIFT) | 1

/** A question for the node's own link-layer address (neighbour.ts). */
export const NEIGHBOUR: Verdict = ANSWER << KIND_SHIFT

export function toPod(port: number): Verdict {
  return POD_KIND | port
}

export function toPeer(peer: number): Verdict {
  return PEER_KIND | peer
}

export function direct(peer: number): Verdict {
  return (DIRECT << KIND_SHIFT) | peer
}

export function drop(reason: number): Verdict {
  return (DROP << KIND_SHIFT) | reason
}

export function kindOf(verdict: Verdict): VerdictKind {
  return (verdict >>> KIND_SHIFT) as VerdictKind
}

/** The pod's port, the peer's index or the drop reason, by the verdict's kind. */
export function indexOf(verdict: Verdict): number {
  return verdict & INDEX_MASK
}
