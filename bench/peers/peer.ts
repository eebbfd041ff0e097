/**
 * A peer is a way to connect pods: polder, or what a user would take instead. Each is brought up anew in a topology of
 * its own, gives pods to measure between, and is taken down again.
 */
import type { Topology } from '../topology.ts'

export interface BenchPod {
  netns: string
  /** Its IPv4 address. */
  address: string
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
  startUpMs: number
  /** Resident memory when it was ready, without any pod. */
  startMB: number
  residentMB(): number
}

export interface Network {
  /** On node 1: where every measurement starts. */
  pod: BenchPod
  sameNode?: BenchPod
  otherNode?: BenchPod
  /** How many of these node 1 has. */
  attachedPods: number
  plugin?: CniPlugin
  daemon?: Daemon
  down(): Promise<void>
}

/** Which of a network's pods the traffic goes to. */
export type Place = 'sameNode' | 'otherNode'

export interface Peer {
  name: string
  /** Version and knobs: what a reader must know to judge the figures. */
  describe(): Promise<string>
  up(topology: Topology): Promise<Network>
}

/** Pods of every peer have the MTU that VXLAN leaves, on one node too. */
export const POD_MTU_BYTES = 1450
