/**
 * The one interface behind which cluster state lives. Reads answer from a local copy and never wait; writes go to the
 * backend and resolve when it has them. Objects are Kubernetes-shaped (objects.ts).
 *
 * What a backend owes: `onChange` reports every difference once, in batches, `previous` absent on creation and
 * `current` absent on deletion; a pod that is deleted while it runs is there, with `metadata.deletionTimestamp`, until its
 * node has ended it, beside another of its name if need be; a broken object never replaces the last good one but is listed by `problems()`.
 */
import type { Leases } from './leases.ts'
import type { ClusterObject, Kind, Node, NodeStatus, ObjectKey, Pod } from './objects.ts'
import type { Service } from './service-objects.ts'

export interface Change {
  key: ObjectKey
  previous?: ClusterObject
  current?: ClusterObject
}

/** Something in the store that cannot be used: where it stands, what is wrong with it, what to do. */
export interface Problem {
  place: string
  message: string
}

export interface DeleteOptions {
  /** How long a pod has to end; absent: as long as it says itself. */
  graceSeconds?: number
  /** Forgets a pod that is not known to have ended: for nodes that will never say so. */
  force?: boolean
}

export type PutResult = 'created' | 'configured' | 'unchanged'

export interface ClusterStore {
  /** Of pods with one name, the one that is not being deleted. */
  get<K extends Kind>(kind: K, name: string, namespace?: string): Extract<ClusterObject, { kind: K }> | undefined
  list<K extends Kind>(kind: K, namespace?: string): Extract<ClusterObject, { kind: K }>[]
  /** Validates and writes what a person owns (metadata, spec); never status. */
  put(object: ClusterObject): Promise<PutResult>
  /** Resolves to false where there was nothing to delete. */
  delete(key: ObjectKey, options?: DeleteOptions): Promise<boolean>
  /** A pod that was being deleted has ended, and nothing is left of it on its node. */
  endPod(pod: Pod): Promise<void>
  putPodStatus(pod: Pod, status: NonNullable<Pod['status']>): Promise<void>
  putNodeStatus(name: string, status: NodeStatus): Promise<void>
  /** Whether a Service has the addresses and node ports that it asks for. */
  isSettled(service: Service): boolean
  /** Gives it what it asks for, or says on its object what it cannot have. Any number of callers may ask at once. */
  settleService(service: Service): Promise<void>
  /** By which the nodes agree who answers for an address on the link. */
  leasesOf(node: string): Leases
  /** Binds a pod without `spec.nodeName` to a node; false when another node was first. Exactly one caller ever wins. */
  bind(pod: Pod, nodeName: string): Promise<boolean>
  /**
   * The node object of this name, with pod ranges that no other node has: those it already holds, or newly claimed ones.
   * The claim is held by this process while it lives: a second live process with the same name gets an error.
   */
  claimNode(name: string): Promise<Node>
  onChange(listener: (changes: Change[]) => void): () => void
  problems(): Problem[]
  close(): Promise<void>
}
