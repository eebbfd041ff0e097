/**
 * What is compared with what: the one list of the bench. A contest is polder and other ways to do the same, under the
 * same measures; it becomes one part of the table.
 */
import { CNI } from './measures/cni.ts'
import { CONNECTIONS } from './measures/connections.ts'
import { DAEMON } from './measures/daemon.ts'
import type { Measure } from './measures/measure.ts'
import { PATH } from './measures/path.ts'
import { PING } from './measures/ping.ts'
import { RR } from './measures/rr.ts'
import { SERVICES } from './measures/services.ts'
import { TCP } from './measures/tcp.ts'
import { UDP } from './measures/udp.ts'
import { UDP_RATE } from './measures/udp-rate.ts'
import { BRIDGE } from './peers/bridge.ts'
import { IPTABLES, NFTABLES_MAP } from './peers/kernel-services.ts'
import { KERNEL_VXLAN, KERNEL_VXLAN_TUNED } from './peers/kernel-vxlan.ts'
import { N2N } from './peers/n2n.ts'
import { NEBULA } from './peers/nebula.ts'
import type { Family, Peer, Place } from './peers/peer.ts'
import { POLDER } from './peers/polder.ts'
import { TINC } from './peers/tinc.ts'
import { WIREGUARD_GO } from './peers/wireguard-go.ts'
import { WIRES, type Wire } from './topology.ts'

export interface Contest {
  title: string
  /** Polder first. */
  peers: readonly Peer[]
  wire: Wire
  place: Place
  measures: readonly Measure[]
  /** Traffic goes through one of so many Services. */
  services?: number
}

export const MEASURES: readonly Measure[] = [TCP, RR, PING, CONNECTIONS, UDP, UDP_RATE, CNI, DAEMON, PATH, SERVICES]
export const PEERS: readonly Peer[] = [
  POLDER,
  BRIDGE,
  KERNEL_VXLAN,
  KERNEL_VXLAN_TUNED,
  TINC,
  NEBULA,
  WIREGUARD_GO,
  N2N,
  NFTABLES_MAP,
  IPTABLES,
]

/** On top of another way to connect pods, and only where there are Services. */
const PEERS_OF_SERVICES: readonly Peer[] = [NFTABLES_MAP, IPTABLES]

/** Of user-space peers: what they would be chosen or not chosen for. The rest of the time is the others'. */
const MEASURES_OF_USER_SPACE: readonly Measure[] = [TCP, RR, UDP]

/** A wire without super-packets is where a user-space peer can be compared; judged there. */
const WIRE_OF_USER_SPACE: Wire = 'mtu'

export interface Choice {
  wires: readonly Wire[]
  /** Names of measures; empty: all. */
  only: readonly string[]
  /** Numbers of Services. */
  services: readonly number[]
  families: readonly Family[]
  /** Those that can take part. */
  peers: readonly Peer[]
}

/** Contests in which nothing is left to measure are left out. */
export function chooseContests({ wires, only, peers, services, families }: Choice): Contest[] {
  const traffic = MEASURES.filter(({ perFamily }) => perFamily)
  // Whatever the wire is: nothing of these goes over it.
  const onOneNode = { wire: 'full', place: 'sameNode' } as const
  const acrossNodes = peers.filter((peer) => peer !== BRIDGE && !PEERS_OF_SERVICES.includes(peer))
  const withServices = peers.filter((peer) => peer === POLDER || PEERS_OF_SERVICES.includes(peer))
  const contests: Contest[] = [
    ...wires.map((wire): Contest => {
      const title = `Across nodes, wire ${wire}: ${WIRES[wire].text}`
      const taking = acrossNodes.filter(({ kind }) => kind !== 'user-space' || wire === WIRE_OF_USER_SPACE)
      return { title, peers: taking, wire, place: 'otherNode', measures: traffic }
    }),
    { title: 'On one node', peers: [POLDER, BRIDGE], ...onOneNode, measures: traffic },
    ...(families.includes('ipv4') ? services : []).map((count): Contest => {
      const title = `Through a ClusterIP, one of ${count.toLocaleString('en')}: across nodes, wire mtu, IPv4`
      return {
        title,
        peers: withServices,
        wire: 'mtu',
        place: 'otherNode',
        measures: [CONNECTIONS, RR],
        services: count,
      }
    }),
    { title: 'polder with many Services', peers: [POLDER], wire: 'full', place: 'otherNode', measures: [SERVICES] },
    { title: 'Attaching pods', peers: [POLDER, BRIDGE], ...onOneNode, measures: [CNI] },
    { title: 'polder alone', peers: [POLDER], ...onOneNode, measures: [DAEMON, PATH] },
  ]
  return contests.map((contest) => narrow(contest, only)).filter(({ measures }) => measures.length > 0)
}

/** To the measures that are wanted, and the peers that then have anything to do. */
function narrow(contest: Contest, only: readonly string[]): Contest {
  const isAsked = contest.services !== undefined && only.includes(SERVICES.name)
  const measures = contest.measures.filter(({ name }) => only.length === 0 || isAsked || only.includes(name))
  const narrowed = { ...contest, measures }
  return { ...narrowed, peers: contest.peers.filter((peer) => measuresFor(narrowed, peer).length > 0) }
}

export function measuresFor({ measures }: Contest, { kind }: Peer): readonly Measure[] {
  return kind === 'user-space' ? measures.filter((measure) => MEASURES_OF_USER_SPACE.includes(measure)) : measures
}
