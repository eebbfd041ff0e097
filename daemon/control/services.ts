/**
 * Keeps the data path's services in step with the cluster's Services, EndpointSlices, Pods and this node's addresses. A
 * change makes anew what it touches and nothing else; whatever came while the data path took over the last state goes
 * with the next one. Many changes are worked off in slices, so that whoever else needs this thread gets it in between.
 * And sees to it that each Service gets the addresses it asks for, whichever polderd is first.
 *
 * The host ports of this node's pods go with them: to the data path they are the same.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import { ServiceBuilder } from '../../packet/tables/service-builder.ts'
import type { ServiceBuffers, ServicePort } from '../../packet/tables/service-port.ts'
import { addressesOf, type Node } from '../cluster/objects.ts'
import type { Service } from '../cluster/service-objects.ts'
import type { Change, ClusterStore } from '../cluster/store.ts'
import { hostPortFrontends, type Redirect, redirectsOf } from '../host-ports/frontends.ts'
import type { HostPorts } from '../host-ports/host-ports.ts'
import { gatewayOf, networkAddressOf } from '../ipam/range.ts'
import { areSame, isNothing, type Outward, outwardOf } from './outward.ts'
import { ServiceIndex } from './service-index.ts'
import { type Here, servicePortsOf } from './service-ports.ts'
import type { OwnNode } from './surroundings.ts'
import { ZONE_LABEL } from './traffic-distribution.ts'

export interface ServicesOptions {
  own: OwnNode
  store: ClusterStore
  hostPorts: HostPorts
  /** False: there are none but host ports. */
  serves: boolean
  log: Logger
}

/** What was refused, or could not be written, is tried again as often. */
const RETRY_MS = 5000
/** How long this thread is had at a time. */
const SLICE_MS = 5
/** Their name among the Services, before every other: a host port goes before a node port. */
const HOST_PORTS = ''

function zonesOf(nodes: readonly Node[]): Map<string, string> {
  const zones = nodes.flatMap(({ metadata: { name, labels } }): [string, string][] => {
    const zone = labels?.[ZONE_LABEL]
    return zone === undefined ? [] : [[name, zone]]
  })
  return new Map(zones)
}

export class Services {
  readonly #options: ServicesOptions
  readonly #index = new ServiceIndex()
  readonly #builder = new ServiceBuilder()
  readonly #computed = new Map<string, { service: Service; ports: readonly ServicePort[] }>()
  readonly #dirty = new Set<string>()
  /** Those that may not have what they ask for, and those that are being given it. */
  readonly #unsettled = new Set<string>()
  readonly #settling = new Set<string>()
  /** Who waits for the data path to know of the host ports; undefined: they have not changed. */
  #hostPortsChanged: PromiseWithResolvers<void> | undefined
  readonly #outwardByName = new Map<string, Outward>()
  #outward: Outward | undefined
  #here: Here
  #handOver: ((services: ServiceBuffers) => Promise<void>) | undefined
  readonly #unsubscribe: () => void
  #retry: NodeJS.Timeout | undefined
  #turn: Promise<void> | undefined

  constructor(options: ServicesOptions) {
    this.#options = options
    this.#here = this.#whereWeAre()
    const { store, serves } = options
    const objects = !serves ? [] : [...store.list('Pod'), ...store.list('EndpointSlice'), ...store.list('Service')]
    for (const object of objects) this.#index.note(undefined, object)
    for (const name of this.#index.names()) this.#compute(name)
    this.#unsubscribe = store.onChange((changes) => this.#note(changes))
  }

  /** The services of now, for the data path. */
  get current(): ServiceBuffers {
    return this.#builder.build()
  }

  /** What the host and the link must do for them; another object after every change. */
  get outward(): Outward {
    if (this.#outward === undefined) {
      const all = [...this.#outwardByName.keys()].sort().map((name) => this.#outwardByName.get(name)!)
      this.#outward = {
        nodePorts: all.flatMap(({ nodePorts }) => nodePorts),
        addresses: [...new Set(all.flatMap(({ addresses }) => addresses))],
        externals: all.flatMap(({ externals }) => externals),
        balanced: all.flatMap(({ balanced }) => balanced),
        healthChecks: all.flatMap(({ healthChecks }) => healthChecks),
      }
    }
    return this.#outward
  }

  /** The host ports that the host must send on. */
  get redirects(): readonly Redirect[] {
    return redirectsOf(this.#options.hostPorts.list(), this.#here)
  }

  get virtualAddresses(): readonly string[] {
    return this.#here.virtualAddresses
  }

  /** Resolves once every packet is decided by the host ports of now. */
  async followHostPorts(): Promise<void> {
    const { promise } = this.#noteHostPorts()
    // The data path begins with them.
    if (this.#handOver === undefined) return this.#computeHostPorts()
    this.#refresh()
    await promise
  }

  /** From now on every change goes to `handOver`. */
  follow(handOver: (services: ServiceBuffers) => Promise<void>): void {
    this.#handOver = handOver
    this.#retry = setInterval(() => this.#settle(), RETRY_MS).unref()
    this.#settle()
    this.#refresh()
  }

  async stop(): Promise<void> {
    this.#unsubscribe()
    clearInterval(this.#retry)
    this.#handOver = undefined
    await this.#turn
  }

  #note(changes: readonly Change[]): void {
    for (const { previous, current } of this.#options.serves ? changes : []) {
      for (const name of this.#index.note(previous, current)) this.#dirty.add(name)
    }
    if (changes.some(({ key }) => key.kind === 'Node')) this.#noteHere()
    this.#refresh()
  }

  #noteHere(): void {
    const here = this.#whereWeAre()
    const before = this.#here
    if (isDeepStrictEqual(here, before)) return
    this.#here = here
    const areZonesSame = isDeepStrictEqual(here.zones, before.zones)
    for (const name of areZonesSame ? this.#outwardByName.keys() : this.#index.names()) this.#dirty.add(name)
    if (this.#options.hostPorts.list().length > 0) this.#noteHostPorts()
  }

  #whereWeAre(): Here {
    const { own, store } = this.#options
    const underlay = store.get('Node', own.name)?.status?.network.underlayAddresses ?? []
    return {
      nodeName: own.name,
      addresses: [...new Set([own.underlayAddress, ...underlay, ...own.podCIDRs.map(gatewayOf)])],
      virtualAddresses: own.podCIDRs.map(networkAddressOf),
      zones: zonesOf(store.list('Node')),
      nodeAddresses: [...new Set([own.underlayAddress, ...store.list('Node').flatMap(addressesOf)])],
    }
  }

  #refresh(): void {
    if (!this.#isDirty() || this.#handOver === undefined || this.#turn !== undefined) return
    this.#turn = this.#handOverAll().finally(() => {
      this.#turn = undefined
      this.#refresh()
    })
  }

  #noteHostPorts(): PromiseWithResolvers<void> {
    if (this.#hostPortsChanged === undefined) {
      this.#hostPortsChanged = Promise.withResolvers()
      // Told to those who wait; where nobody does, the log has it.
      this.#hostPortsChanged.promise.catch(() => {})
    }
    return this.#hostPortsChanged
  }

  #isDirty(): boolean {
    return this.#dirty.size > 0 || this.#hostPortsChanged !== undefined
  }

  async #handOverAll(): Promise<void> {
    let last = this.#builder.build()
    while (this.#isDirty()) {
      const told = this.#hostPortsChanged
      this.#computeSome()
      this.#settle()
      const next = this.#builder.build()
      if (next === last) {
        told?.resolve()
        await nextTurn()
        continue
      }
      last = next
      try {
        await this.#handOver?.(next)
        told?.resolve()
      } catch (error) {
        told?.reject(error)
        this.#options.log.error({ err: error }, 'the data path refused new services')
      }
    }
  }

  #computeSome(): void {
    const end = performance.now() + SLICE_MS
    if (this.#hostPortsChanged !== undefined) this.#computeHostPorts()
    for (const name of this.#dirty) {
      this.#dirty.delete(name)
      this.#compute(name)
      if (performance.now() >= end) return
    }
  }

  #computeHostPorts(): void {
    this.#hostPortsChanged = undefined
    this.#builder.set(HOST_PORTS, hostPortFrontends(this.#options.hostPorts.list(), this.#here))
  }

  /** Makes anew what the data path works by for one Service. What cannot be used of it harms no other. */
  #compute(name: string): void {
    const service = this.#index.service(name)
    const before = this.#computed.get(name)
    if (service !== before?.service) this.#unsettled.add(name)
    if (service === undefined) {
      this.#noteOutward(name, undefined)
      this.#computed.delete(name)
      this.#builder.set(name, [])
      return
    }
    try {
      const behind = [this.#index.slicesOf(name), this.#index.podsOf(service), this.#here] as const
      const made = servicePortsOf(service, ...behind)
      this.#noteOutward(name, outwardOf(service, ...behind))
      const ports = made.map((port, i) => {
        const old = before?.ports[i]
        return old !== undefined && isDeepStrictEqual(old, port) ? old : port
      })
      this.#builder.set(name, ports)
      this.#computed.set(name, { service, ports })
    } catch (error) {
      this.#options.log.error({ err: error, service: name }, 'the Service cannot be used as it is now')
    }
  }

  #noteOutward(name: string, outward: Outward | undefined): void {
    const before = this.#outwardByName.get(name)
    if (outward === undefined || isNothing(outward)) {
      if (this.#outwardByName.delete(name)) this.#outward = undefined
    } else if (!areSame(before, outward)) {
      this.#outwardByName.set(name, outward)
      this.#outward = undefined
    }
  }

  #settle(): void {
    const { store, log } = this.#options
    for (const name of this.#unsettled) {
      const service = this.#index.service(name)
      if (service === undefined || store.isSettled(service)) {
        this.#unsettled.delete(name)
        continue
      }
      if (this.#settling.has(name)) continue
      this.#settling.add(name)
      store
        .settleService(service)
        .catch((error) => log.warn({ err: error, service: name }, 'the Service has no addresses yet'))
        .finally(() => this.#settling.delete(name))
    }
  }
}
