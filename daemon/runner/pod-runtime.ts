/**
 * What can run a pod on this node: containerd through CRI (cri/), or a bare namespace (netns-runtime.ts). The
 * reconciler (reconcile.ts) drives it from the store's pods; every call may be repeated.
 */
import type { Readable, Writable } from 'node:stream'
import type { ExecRequest } from '../api/types.ts'
import type { Pod, PodStatus } from '../cluster/objects.ts'

export interface ExecStreams {
  stdin: Readable
  stdout: Writable
  stderr: Writable
  /** Called with each new terminal size while a tty runs. */
  onResize(listener: (size: { columns: number; rows: number }) => void): void
}

export interface LogOptions {
  container?: string
  follow?: boolean
  tail?: number
  timestamps?: boolean
}

/** What a runtime holds of one pod. `fingerprint` changes whenever something of it starts, stops, comes or goes. */
export interface HeldPod {
  namespace: string
  name: string
  uid?: string
  fingerprint: string
}

export interface PodRuntime {
  /** Brings the pod one step nearer to what it should be and says how it is now. Never throws for what a pod can be told. */
  ensure(pod: Pod): Promise<PodStatus>
  /**
   * Ends what runs in a pod that is being deleted, as its manifest asks and by its deadline; resolves when nothing runs any
   * more. `report` hears each new status meanwhile. Called again while it is at it, it takes over a deadline that is sooner.
   */
  terminate(pod: Pod, report: (status: PodStatus) => void): Promise<void>
  /** Stops and removes everything of the pod; resolves when nothing is left. */
  remove(pod: { namespace: string; name: string }): Promise<void>
  /** Everything this runtime holds on this node, also what is in no store any more. */
  list(): Promise<HeldPod[]>
  /** Resolves to the exit code. */
  exec(pod: Pod, request: ExecRequest, streams: ExecStreams): Promise<number>
  logs(pod: Pod, options: LogOptions, out: Writable): Promise<void>
}
