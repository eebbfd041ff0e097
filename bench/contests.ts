/**
 * What is compared with what: the one list of the bench. A contest is polder and the kernel's way to do the same, under
 * the same measures; it becomes one part of the table.
 */
import { CNI } from './measures/cni.ts'
import type { Measure } from './measures/measure.ts'
import { RR } from './measures/rr.ts'
import { TCP } from './measures/tcp.ts'
import { UDP } from './measures/udp.ts'
import { BRIDGE } from './peers/bridge.ts'
import { KERNEL_VXLAN } from './peers/kernel-vxlan.ts'
import type { Peer, Place } from './peers/peer.ts'
import { POLDER } from './peers/polder.ts'
import { WIRES, type Wire } from './topology.ts'

export interface Contest {
  title: string
  /** Polder first; ratios are to the second, the kernel's way. */
  peers: readonly [Peer, Peer, ...Peer[]]
  wire: Wire
  place: Place
  measures: readonly Measure[]
}

export const MEASURES: readonly Measure[] = [TCP, RR, UDP, CNI]

const TRAFFIC: readonly Measure[] = [TCP, RR, UDP]

export interface Choice {
  wires: readonly Wire[]
  /** Names of measures; empty: all. */
  only: readonly string[]
}

/** Contests in which nothing is left to measure are left out. */
export function chooseContests({ wires, only }: Choice): Contest[] {
  const chosen = (measures: readonly Measure[]) =>
    measures.filter(({ name }) => only.length === 0 || only.includes(name))
  // Whatever the wire is: nothing of these goes over it.
  const onOneNode = { peers: [POLDER, BRIDGE], wire: 'full', place: 'sameNode' } as const
  const contests: Contest[] = [
    ...wires.map((wire): Contest => {
      const title = `Across nodes, wire ${wire}: ${WIRES[wire].text}`
      return { title, peers: [POLDER, KERNEL_VXLAN], wire, place: 'otherNode', measures: chosen(TRAFFIC) }
    }),
    { title: 'On one node', ...onOneNode, measures: chosen(TRAFFIC) },
    { title: 'Attaching pods', ...onOneNode, measures: chosen([CNI]) },
  ]
  return contests.filter(({ measures }) => measures.length > 0)
}
