/**
 * Everything the node knows, as the path sees it: one consistent set, replaced as a whole between two batches. Main
 * builds the buffers, the worker wraps them; neither copies.
 */
import { type AddressWords, parseAddress } from '../address.ts'
import { AffinityTable } from './affinity.ts'
import { flowsInMemory } from './flow-recovery.ts'
import type { FlowTable } from './flows.ts'
import { FragmentTable } from './fragments.ts'
import { macWords, type PeerBuffers, type PeerEntry, PeerTable, type Vtep } from './peers.ts'
import { type PodEntry, PodTable } from './pods.ts'
import { type RouteBuffers, type RouteEntry, RouteTable } from './routes.ts'
import type { ServiceBuffers } from './service-port.ts'
import { ServiceTable } from './services.ts'

export interface NetworkState {
  readonly pods: readonly PodEntry[]
  readonly peers: readonly PeerEntry[]
  readonly routes: readonly RouteEntry[]
  /** Absent: there are none. */
  readonly services?: ServiceBuffers
  readonly vtep: Vtep
  /** Largest IP packet a pod of this node, or its host TUN, takes, in bytes. */
  readonly mtuBytes: number
  /** The node's own addresses in the pod network, at most one a family: its answers come from there. */
  readonly gateways: readonly string[]
  /**
   * Addresses of the node that its host does not have, at most one a family: answers to the host come from there, for no
   * host takes a packet with a source of its own from outside.
   */
  readonly natAddresses: readonly string[]
  /** Whether the outer header takes over the DSCP of the packet inside. ECN always does (RFC 6040). */
  readonly copyDscp: boolean
}

export interface TableBuffers {
  readonly pods: SharedArrayBuffer
  readonly routes: RouteBuffers
  readonly peers: PeerBuffers
  readonly services: ServiceBuffers
  readonly vni: number
  readonly mtuBytes: number
  readonly gateway4: AddressWords | undefined
  readonly gateway6: AddressWords | undefined
  readonly nat4: AddressWords | undefined
  readonly nat6: AddressWords | undefined
  /** The node's own MAC on the overlay: the first 16 bits, and the other 32. */
  readonly macHigh: number
  readonly macLow: number
  readonly copyDscp: boolean
}

export type Tables = Omit<TableBuffers, 'pods' | 'routes' | 'peers' | 'services'> & {
  readonly pods: PodTable
  readonly routes: RouteTable
  readonly peers: PeerTable
  readonly services: ServiceTable
  /** Those that the path itself writes; they outlive a change of the others. */
  readonly flows: FlowTable
  readonly fragments: FragmentTable
  readonly affinity: AffinityTable
}

/** What the path remembers of the packets that passed. */
export type FlowMemory = Pick<Tables, 'flows' | 'fragments' | 'affinity'>

const FLOWS_ALONE = 4096

export function buildTables(state: NetworkState): TableBuffers {
  return {
    pods: PodTable.build(state.pods),
    routes: RouteTable.build(state.routes),
    peers: PeerTable.build(state.peers, state.vtep),
    services: state.services ?? ServiceTable.build([]),
    vni: state.vtep.vni,
    mtuBytes: state.mtuBytes,
    gateway4: wordsOf(state.gateways, 4),
    gateway6: wordsOf(state.gateways, 6),
    nat4: wordsOf(state.natAddresses, 4),
    nat6: wordsOf(state.natAddresses, 6),
    ...macWords(state.vtep.mac),
    copyDscp: state.copyDscp,
  }
}

function wordsOf(addresses: readonly string[], family: 4 | 6): AddressWords | undefined {
  const address = addresses.find((candidate) => candidate.includes(':') === (family === 6))
  return address === undefined ? undefined : parseAddress(address)
}

export function openFlowMemory(flows: FlowTable): FlowMemory {
  return { flows, fragments: new FragmentTable(), affinity: new AffinityTable() }
}

/** Without a flow memory of the caller's, with a small one of its own. */
export function openTables(buffers: TableBuffers, memory = openFlowMemory(flowsInMemory(FLOWS_ALONE))): Tables {
  memory.flows.forgetDecisions()
  const { flows, fragments, affinity } = memory
  const { pods, routes, peers, services, ...rest } = buffers
  // One by one, not spread: V8 then knows at every use what each of them is.
  return {
    pods: new PodTable(pods),
    routes: new RouteTable(routes),
    peers: new PeerTable(peers),
    services: new ServiceTable(services),
    flows,
    fragments,
    affinity,
    vni: rest.vni,
    mtuBytes: rest.mtuBytes,
    gateway4: rest.gateway4,
    gateway6: rest.gateway6,
    nat4: rest.nat4,
    nat6: rest.nat6,
    macHigh: rest.macHigh,
    macLow: rest.macLow,
    copyDscp: rest.copyDscp,
  }
}
