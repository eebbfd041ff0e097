/** A measure takes figures from a network that is up. Each figure becomes a row of the table. */
import type { BenchPod, Network } from '../peers/peer.ts'
import type { Topology } from '../topology.ts'

export interface Reading {
  row: string
  unit: string
  value: number
  better: 'more' | 'less'
}

export interface Subject {
  topology: Topology
  network: Network
  from: BenchPod
  to: BenchPod
  /** Of `to`, or of the Service that it is behind, in the family at hand. */
  address: string
  /** Of each measurement, after its warm-up. */
  seconds: number
  /** How many Services are many. */
  services: number
}

export interface Measure {
  name: string
  /** Whether it is taken for each family: what goes between pods is. */
  perFamily: boolean
  /** What its rows mean: tools, versions, knobs. */
  describe(): Promise<string>
  run(subject: Subject): Promise<Reading[]>
}

/** TCP grows its windows, and V8 compiles, before anything counts. */
export const WARM_UP_S = 0.5

/** Small as of a name server's question, and large as of a stream; both whole in a pod's packet of either family. */
export const UDP_PAYLOADS_BYTES = [64, 1400] as const
