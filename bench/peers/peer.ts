/**
 * A peer is a way to connect pods: polder, or what a user would take instead. Each is brought up anew in a topology of
 * its own, gives pods to measure between, and is taken down again.
 */
import type { Topology } from '../topology.ts'

export const FAMILIES = ['ipv4', 'ipv6'] as const
export type Family = (typeof FAMILIES)[number]

export interface BenchPod {
  netns: string
  /** Where a peer has no IPv6, no measurement of it takes place. */
  addresses: { ipv4: string; ipv6?: string }
}

/** The CNI plugin that attaches pods on node 1. */
export interface CniPlugin {
  program: string
  /** File with the network configuration that the plugin reads from stdin. */
  config: string
  /** Namespace in which the plugin is started. */
  netns: string
}

/** What runs all the time on node 1 so that pods are connected. */
export interface Daemon {
  /** It and all it started, in megabytes of 1e6 bytes. */
  memory(): Promise<{ residentMB: number; proportionalMB: number }>
  /** CPU time it and all it started have used. */
  cpuMs(): Promise<number>
  /** Ends it, leaving the pods, and starts it again; resolves to when it was started, as performance.now() has it. */
  restart(): Promise<number>
  /** Resolves once it can be talked to. */
  untilAnswers(): Promise<void>
}

export interface Network {
  /** On node 1: where every measurement starts. */
  pod: BenchPod
  sameNode?: BenchPod
  otherNode?: BenchPod
  /** How many of these node 1 has. */
  attachedPods: number
  /** IPv4: of the Service that `otherNode` is behind, where there are Services. */
  clusterIP?: string
  plugin?: CniPlugin
  daemon?: Daemon
  down(): Promise<void>
}

/** Which of a network's pods the traffic goes to. */
export type Place = 'sameNode' | 'otherNode'

/** What it is to polder: `kernel` the alternative that ratios and targets mean, `tuned` that with more knobs turned. */
export type PeerKind = 'polder' | 'kernel' | 'tuned' | 'user-space'

export interface Peer {
  name: string
  kind: PeerKind
  /** Why it cannot take part here; undefined: it can. */
  absence?(): Promise<string | undefined>
  /** Version and knobs: what a reader must know to judge the figures. */
  describe(): Promise<string>
  /** With so many Services, where there are to be some: one leads to the pod on the other node. */
  up(topology: Topology, services?: number): Promise<Network>
}

/** Pods have the MTU that VXLAN leaves, on one node too. A peer that needs more room says so. */
export const POD_MTU_BYTES = 1450
