/**
 * From the nodes of the cluster to what the data path works by: peers, and the routes to them. Pure; the whole answer
 * is computed anew from the whole input.
 *
 * Routes, the longer prefix first: this node's own addresses lead to the host; a peer's pod range and its underlay
 * address to that peer (a pod and a process on another node talk through the overlay both ways, without NAT); what is
 * left of our own range, of the cluster's and of the services' is dropped by name; everything else is the world, and the host's affair.
 *
 * A peer is reached in VXLAN, or directly: through the host's routes, without an envelope, where both ends allow it and
 * are on one link. Both ends decide by the same facts, so they decide the same.
 */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { parseAddress } from '../../packet/address.ts'
import { DROP_NO_ROUTE, DROP_NO_SUCH_POD, DROP_NO_SUCH_SERVICE } from '../../packet/path/drop-reason.ts'
import { direct, drop, HOST, toPeer, WORLD } from '../../packet/path/verdict.ts'
import type { PeerEntry } from '../../packet/tables/peers.ts'
import type { RouteEntry } from '../../packet/tables/routes.ts'
import type { Encapsulation, Node } from '../cluster/objects.ts'
import { overlap, parseCidr } from '../config/cidr.ts'
import type { Surroundings } from '../dataplane/dataplane.ts'
import { gatewayOf, natAddressOf } from '../ipam/range.ts'
import { MAX_PEERS } from '../nic/descriptors.ts'

export interface OwnNode {
  name: string
  podCIDRs: string[]
  underlayAddress: string
  /** Largest IP packet of a pod. */
  mtuBytes: number
  /** Largest IP packet that fits through VXLAN: smaller, or the same. */
  tunnelMtuBytes: number
}

export interface Overlay {
  podCIDRs: string[]
  serviceCIDRs: string[]
  vxlanPort: number
  vxlanVni: number
  copyDscp: boolean
  encapsulation: Encapsulation
}

export interface SurroundingsResult {
  surroundings: Surroundings
  /** Nodes that cannot be peers, and why: for the log. */
  unusable: { node: string; reason: string }[]
  /** What the host must route to peers itself. */
  directRoutes: DirectRoute[]
}

export interface DirectRoute {
  /** A peer's pod range. */
  dst: string
  /** The peer's underlay address. */
  via: string
}

export const UNDERLAY_ANNOTATION = 'polder/underlay-address'
export const VTEP_MAC_ANNOTATION = 'polder/vtep-mac'
export const ENCAPSULATION_ANNOTATION = 'polder/encapsulation'

interface Peer extends PeerEntry {
  name: string
  podCIDRs: string[]
  /** Its addresses on our link, where it may be reached directly; at most one a family. */
  nextHops: string[]
}

/** A locally administered MAC from the node's pod range, which no two nodes share; a cloned machine-id does not matter. */
export function vtepMac(podCIDRs: readonly string[]): string {
  const digest = createHash('sha256').update(podCIDRs.join(' ')).digest()
  return ['02', ...[...digest.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

/** `isOnLink`: whether an underlay address is reached without a router. */
export function surroundingsOf(
  own: OwnNode,
  nodes: readonly Node[],
  overlay: Overlay,
  isOnLink: (address: string) => boolean,
  peersMax = MAX_PEERS,
): SurroundingsResult {
  const peers: Peer[] = []
  const unusable: SurroundingsResult['unusable'] = []
  const others = nodes.filter(({ metadata }) => metadata.name !== own.name)
  for (const node of others.toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name))) {
    const peer = peerOf(node, own, overlay, isOnLink)
    const reason = typeof peer === 'string' ? peer : (full(peers, peersMax) ?? clash(peer, own, peers))
    if (typeof peer === 'string' || reason !== undefined) unusable.push({ node: node.metadata.name, reason: reason! })
    else peers.push(peer)
  }
  const directRoutes = peers.flatMap((peer) =>
    peer.podCIDRs.flatMap((dst) => {
      const via = nextHopFor(dst, peer.nextHops)
      return via === undefined ? [] : [{ dst, via }]
    }),
  )
  return { unusable, surroundings: toSurroundings(own, peers, overlay), directRoutes }
}

/**
 * Nodes that are not ready while another, ready one has their underlay address: a machine that came back under another
 * name. They are what is left of the earlier one. Answers by name who took over.
 */
export function supersededNodes(
  own: OwnNode,
  nodes: readonly Node[],
  isReady: (node: Node) => boolean,
): Map<string, string> {
  const alive = new Map<string, string>([[own.underlayAddress, own.name]])
  const addressed = nodes.filter(({ metadata }) => metadata.name !== own.name)
  for (const node of addressed) {
    const address = underlayAddressOf(node)
    if (address !== undefined && isReady(node)) alive.set(address, node.metadata.name)
  }
  const superseded = new Map<string, string>()
  for (const node of addressed) {
    const successor = alive.get(underlayAddressOf(node) ?? '')
    if (successor !== undefined && !isReady(node)) superseded.set(node.metadata.name, successor)
  }
  return superseded
}

function underlayAddressOf({ metadata, status }: Node): string | undefined {
  return metadata.annotations?.[UNDERLAY_ANNOTATION] ?? status?.network.underlayAddress
}

/** The peer a node is, or why it cannot be one yet. */
function peerOf(node: Node, own: OwnNode, overlay: Overlay, isOnLink: (address: string) => boolean): Peer | string {
  const { metadata, spec, status } = node
  const underlayAddress = underlayAddressOf(node)
  if (underlayAddress === undefined) return `it has not said its underlay address yet (or set ${UNDERLAY_ANNOTATION})`
  if (isIP(underlayAddress) === 0) return `its underlay address ${underlayAddress} is no IP address`
  if (isIP(underlayAddress) !== isIP(own.underlayAddress)) {
    return `its underlay address ${underlayAddress} is of another family than ours, ${own.underlayAddress}`
  }
  const foreign = metadata.annotations?.[VTEP_MAC_ANNOTATION] !== undefined
  const theirs = metadata.annotations?.[ENCAPSULATION_ANNOTATION] ?? status?.network.encapsulation ?? 'vxlan'
  const mayBeDirect = overlay.encapsulation !== 'vxlan' && theirs !== 'vxlan'
  const addresses = status?.network.underlayAddresses ?? [underlayAddress]
  const nextHops = mayBeDirect ? addresses.filter(isOnLink) : []
  // One family may be direct and the other not: what fits through the narrower way fits through both.
  const allDirect = spec.podCIDRs.every((range) => nextHopFor(range, nextHops) !== undefined)
  const ourMtuBytes = allDirect ? own.mtuBytes : own.tunnelMtuBytes
  return {
    name: metadata.name,
    nextHops,
    podCIDRs: spec.podCIDRs,
    underlayAddress,
    port: overlay.vxlanPort,
    foreign,
    vtepMac: metadata.annotations?.[VTEP_MAC_ANNOTATION] ?? status?.network.vtepMac ?? vtepMac(spec.podCIDRs),
    mtuBytes: Math.min(ourMtuBytes, status?.network.mtuBytes ?? ourMtuBytes),
  }
}

/** The data path would refuse all of them if it were told of more than it has room for. */
function full(peers: readonly Peer[], peersMax: number): string | undefined {
  if (peers.length < peersMax) return undefined
  return `there is room for ${peersMax} other nodes: remove the Node objects of nodes that are gone`
}

/** With whom a node cannot live: several nodes with one underlay address, or with overlapping ranges. */
function clash(peer: Peer, own: OwnNode, peers: readonly Peer[]): string | undefined {
  const address = parseAddress(peer.underlayAddress).join()
  for (const other of [own, ...peers]) {
    if (parseAddress(other.underlayAddress).join() === address) {
      return `it has the same underlay address as ${other.name}, ${peer.underlayAddress}: set underlayAddress on both`
    }
    for (const mine of peer.podCIDRs) {
      const range = other.podCIDRs.find((theirs) => overlap(parseCidr(mine), parseCidr(theirs)))
      if (range !== undefined) return `its pod range ${mine} overlaps with ${range} of ${other.name}`
    }
  }
  return undefined
}

function toSurroundings(own: OwnNode, peers: readonly Peer[], overlay: Overlay): Surroundings {
  const routes: RouteEntry[] = [
    { prefix: '0.0.0.0/0', verdict: WORLD },
    { prefix: '::/0', verdict: WORLD },
    ...overlay.podCIDRs.map((prefix) => ({ prefix, verdict: drop(DROP_NO_ROUTE) })),
    ...overlay.serviceCIDRs.map((prefix) => ({ prefix, verdict: drop(DROP_NO_SUCH_SERVICE) })),
    ...own.podCIDRs.map((prefix) => ({ prefix, verdict: drop(DROP_NO_SUCH_POD) })),
    ...peers.flatMap((peer, index) =>
      [...peer.podCIDRs, peer.underlayAddress].map((prefix) => ({
        prefix,
        verdict: nextHopFor(prefix, peer.nextHops) === undefined ? toPeer(index) : direct(index),
      })),
    ),
    ...[...own.podCIDRs.map(gatewayOf), own.underlayAddress].map((prefix) => ({ prefix, verdict: HOST })),
  ]
  return {
    peers,
    routes,
    vtep: { vni: overlay.vxlanVni, mac: vtepMac(own.podCIDRs) },
    mtuBytes: own.mtuBytes,
    gateways: own.podCIDRs.map(gatewayOf),
    natAddresses: own.podCIDRs.map(natAddressOf),
    copyDscp: overlay.copyDscp,
  }
}

/** The peer's address on our link in the family of `prefix`; without one, that family stays in VXLAN. */
function nextHopFor(prefix: string, nextHops: readonly string[]): string | undefined {
  return nextHops.find((address) => address.includes(':') === prefix.includes(':'))
}
