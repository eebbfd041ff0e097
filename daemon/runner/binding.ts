/**
 * Gives pods without a node one: of the ready nodes whose pods have none of its host ports the one with the fewest pods,
 * of equals the first by name. Every
 * polderd decides the same from the same view and binds only what falls to its own node; where views differ for a
 * moment two may try, and the store lets one win.
 *
 * This is no scheduler: it knows no resources, affinities or taints, and moves nothing.
 */
import type { Logger } from 'pino'
import type { Node, Pod } from '../cluster/objects.ts'
import { nodeOf } from '../cluster/objects.ts'
import type { ClusterStore } from '../cluster/store.ts'
import { overlaps, type PortMapping, wantedHostPorts } from '../host-ports/port-mapping.ts'

export const HEARTBEAT_PATIENCE_MS = 40_000
const POLL_MS = 1000

export interface Binding {
  pod: Pod
  nodeName: string
}

/** Where each pod without a node belongs at `nowMs`; nothing while no node is ready. The order of the lists is of no matter. */
export function chooseNodes(pods: Pod[], nodes: Node[], nowMs: number): Binding[] {
  const load = new Map(nodes.filter((node) => isReady(node, nowMs)).map((node) => [node.metadata.name, 0]))
  if (load.size === 0) return []
  const taken = new Map<string, PortMapping[]>()
  const take = (pod: Pod, nodeName: string): void => {
    load.set(nodeName, load.get(nodeName)! + 1)
    taken.set(nodeName, [...(taken.get(nodeName) ?? []), ...wantedHostPorts(pod.spec)])
  }
  const unbound: Pod[] = []
  for (const pod of pods) {
    const nodeName = nodeOf(pod)
    if (nodeName === undefined) unbound.push(pod)
    else if (load.has(nodeName) && !isFinished(pod)) take(pod, nodeName)
  }
  return unbound.sort(byName).map((pod) => {
    const wanted = wantedHostPorts(pod.spec)
    const free = [...load].filter(
      ([name]) => !wanted.some((one) => taken.get(name)?.some((other) => overlaps(one, other))),
    )
    // Where it is free nowhere, the pod says so itself: whose the port is.
    const nodeName = leastLoaded(free.length > 0 ? free : [...load])
    take(pod, nodeName)
    return { pod, nodeName }
  })
}

/** Ready by its own word, and that word is fresh. */
export function isReady(node: Node, nowMs: number): boolean {
  const ready = node.status?.conditions.find((condition) => condition.type === 'Ready')
  if (ready?.status !== 'True' || ready.lastHeartbeatTime === undefined) return false
  return nowMs - Date.parse(ready.lastHeartbeatTime) < HEARTBEAT_PATIENCE_MS
}

/**
 * Binds this node's share of the pods, at every change and as heartbeats grow old. One after the other, in the order of
 * the decision: so every other node sees a beginning of what this one did, and from it decides the same about the rest.
 */
export class Binder {
  readonly #store: ClusterStore
  readonly #nodeName: string
  readonly #log: Logger
  /** Pods that are bound although the store does not show it yet, by uid; `undefined`: another node was first. */
  readonly #settled = new Map<string, string | undefined>()
  #unsubscribe: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #binding = false

  constructor(store: ClusterStore, nodeName: string, log: Logger) {
    this.#store = store
    this.#nodeName = nodeName
    this.#log = log
  }

  start(): void {
    this.#unsubscribe = this.#store.onChange(() => this.#wake())
    this.#timer = setInterval(() => this.#wake(), POLL_MS)
    this.#wake()
  }

  stop(): void {
    this.#unsubscribe?.()
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #wake(): void {
    if (this.#binding) return
    this.#binding = true
    this.#bindAll()
      .catch((error: Error) => this.#log.error({ err: error }, 'a pod was not bound, it will be tried again'))
      .finally(() => {
        this.#binding = false
      })
  }

  async #bindAll(): Promise<void> {
    for (let pod = this.#next(); pod !== undefined && this.#timer !== undefined; pod = this.#next()) {
      const won = await this.#store.bind(pod, this.#nodeName)
      this.#settled.set(uidOf(pod), won ? this.#nodeName : undefined)
      if (won) this.#log.info({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, 'pod bound to this node')
    }
  }

  /** The next pod that falls to this node. */
  #next(): Pod | undefined {
    const listed = this.#store.list('Pod').filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    const unbound = new Set(listed.filter((pod) => nodeOf(pod) === undefined).map(uidOf))
    for (const uid of this.#settled.keys()) if (!unbound.has(uid)) this.#settled.delete(uid)
    const pods = listed.flatMap((pod) => {
      const uid = uidOf(pod)
      if (!this.#settled.has(uid)) return [pod]
      const nodeName = this.#settled.get(uid)
      return nodeName === undefined ? [] : [{ ...pod, spec: { ...pod.spec, nodeName } }]
    })
    if (pods.every((pod) => nodeOf(pod) !== undefined)) return undefined
    return chooseNodes(pods, this.#store.list('Node'), Date.now()).find(({ nodeName }) => nodeName === this.#nodeName)
      ?.pod
  }
}

function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? `${pod.metadata.namespace}/${pod.metadata.name}`
}

function isFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
}

function leastLoaded(load: readonly [string, number][]): string {
  return load.reduce((best, entry) =>
    entry[1] < best[1] || (entry[1] === best[1] && entry[0] < best[0]) ? entry : best,
  )[0]
}

function byName(a: Pod, b: Pod): number {
  const [left, right] = [a, b].map(({ metadata }) => [metadata.namespace ?? 'default', metadata.name])
  return compare(left![0]!, right![0]!) || compare(left![1]!, right![1]!)
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
