/** What the handlers work on: plain values and functions that polderd's composition root hands to createApi. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type pino from 'pino'
import type { FlowRecord } from '../../packet/tables/flow-list.ts'
import type { Attachments } from '../attachments/attachment.ts'
import type { Pod } from '../cluster/objects.ts'
import type { ClusterStore } from '../cluster/store.ts'
import type { PodRuntime } from '../runner/pod-runtime.ts'
import type { Counters, Finding, NodeInfo } from './types.ts'

/** Answers a CNI call: `body` is what the plugin prints, a result when `ok`, a CNI error when not. */
export type CniHandler = (headers: IncomingHttpHeaders, body: string) => Promise<{ ok: boolean; body: string }>

export interface ApiContext {
  store: ClusterStore
  attachments: Attachments
  info: () => NodeInfo
  counters: () => Counters
  flows: () => Iterable<FlowRecord>
  findings: () => Promise<Finding[]>
  /** What runs this pod on this node; undefined where the runner is off. */
  runtimeFor: (pod: Pod) => PodRuntime | undefined
  cni: CniHandler
  /** Another polderd takes over, over this connection; resolves when it has, or has not. */
  takeover: (connection: Duplex) => Promise<void>
  log: pino.Logger
}
