/**
 * Keeps the data path's surroundings in step with the cluster's nodes: computed anew on every change of a node, handed
 * over one at a time, the newest last. A node that cannot be a peer is logged once for each reason.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { ClusterStore } from '../cluster/store.ts'
import type { Surroundings } from '../dataplane/dataplane.ts'
import { Netlink } from '../netlink/netlink.ts'
import { isReady } from '../runner/binding.ts'
import { type DirectRoute, type Overlay, type OwnNode, supersededNodes, surroundingsOf } from './surroundings.ts'

export interface PeersOptions {
  own: OwnNode
  overlay: Overlay
  store: ClusterStore
  log: Logger
}

export class Peers {
  readonly #options: PeersOptions
  readonly #netlink = new Netlink()
  #current: Surroundings
  #directRoutes: DirectRoute[] = []
  #said = new Set<string>()
  #handOver: ((surroundings: Surroundings) => Promise<void>) | undefined
  #unsubscribe: (() => void) | undefined
  #turn: Promise<void> = Promise.resolve()

  constructor(options: PeersOptions) {
    this.#options = options
    this.#current = this.#compute()
  }

  /** What the host must route to peers itself, by the newest surroundings. */
  get directRoutes(): DirectRoute[] {
    return this.#directRoutes
  }

  get surroundings(): Surroundings {
    return this.#current
  }

  /** From now on every change goes to `handOver`. */
  follow(handOver: (surroundings: Surroundings) => Promise<void>): void {
    this.#handOver = handOver
    this.#tell(this.#current)
    this.#unsubscribe = this.#options.store.onChange((changes) => {
      if (changes.some(({ key }) => key.kind === 'Node')) this.refresh()
    })
    this.refresh()
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.()
    await this.#turn
    this.#netlink.close()
  }

  /** Looks again at what the surroundings are computed from. */
  refresh(): void {
    const next = this.#compute()
    // A heartbeat changes a node and nothing here.
    if (isDeepStrictEqual(next, this.#current)) return
    this.#current = next
    this.#turn = this.#turn.then(async () => {
      if (next !== this.#current) return
      await this.#handOver?.(next)
      this.#tell(next)
    })
    this.#turn = this.#turn.catch((error) => this.#options.log.error({ err: error }, 'the data path refused new peers'))
  }

  #tell({ peers }: Surroundings): void {
    this.#options.log.info({ peers: peers.map(({ underlayAddress }) => underlayAddress) }, 'packets go to these peers')
  }

  #compute(): Surroundings {
    const { own, overlay, store, log } = this.#options
    const isOnLink = (address: string): boolean => this.#isOnLink(address)
    const known = store.list('Node')
    const superseded = supersededNodes(own, known, (node) => isReady(node, Date.now()))
    const nodes = known.filter(({ metadata }) => !superseded.has(metadata.name))
    const { surroundings, unusable, directRoutes } = surroundingsOf(own, nodes, overlay, isOnLink)
    for (const [node, successor] of superseded) {
      unusable.push({ node, reason: `it is not ready, and ${successor} has its underlay address now` })
    }
    this.#directRoutes = directRoutes
    const saying = new Set(unusable.map(({ node, reason }) => `${node}: ${reason}`))
    for (const text of saying) if (!this.#said.has(text)) log.warn(`not a peer: ${text}`)
    this.#said = saying
    return surroundings
  }

  /** Without a router between: the kernel would send straight to the address. An address that leads nowhere is not. */
  #isOnLink(address: string): boolean {
    try {
      return this.#netlink.routeTo(address).via === undefined
    } catch {
      return false
    }
  }
}
