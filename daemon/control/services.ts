/**
 * Keeps the data path's services in step with the cluster's Services, EndpointSlices, Pods and this node's addresses. A
 * change makes anew what it touches and nothing else; whatever came while the data path took over the last state goes
 * with the next one. And sees to it that each Service gets the addresses it asks for, whichever polderd is first.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { ServicePort } from '../../packet/tables/services.ts'
import type { Pod } from '../cluster/objects.ts'
import { type EndpointSlice, SERVICE_NAME_LABEL, type Service } from '../cluster/service-objects.ts'
import type { Change, ClusterStore } from '../cluster/store.ts'
import { gatewayOf, networkAddressOf } from '../ipam/range.ts'
import { selects } from './endpoints.ts'
import { type Here, type NodePort, nodePortsOf, servicePortsOf } from './service-ports.ts'
import type { OwnNode } from './surroundings.ts'

export interface ServicesOptions {
  own: OwnNode
  store: ClusterStore
  log: Logger
}

/** What was refused, or could not be written, is tried again as often. */
const RETRY_MS = 5000

export class Services {
  readonly #options: ServicesOptions
  readonly #computed = new Map<string, { service: Service; ports: ServicePort[] }>()
  readonly #dirty = new Set<string>()
  readonly #settling = new Set<string>()
  #here: Here
  #current: readonly ServicePort[] = []
  #nodePorts: readonly NodePort[] = []
  #handOver: ((services: readonly ServicePort[]) => Promise<void>) | undefined
  #unsubscribe: (() => void) | undefined
  #retry: NodeJS.Timeout | undefined
  #turn: Promise<void> | undefined

  constructor(options: ServicesOptions) {
    this.#options = options
    this.#here = this.#whereWeAre()
    for (const service of options.store.list('Service')) this.#dirty.add(nameOf(service))
    this.#current = this.#compute()
  }

  /** The services of now; another array after every change. */
  get current(): readonly ServicePort[] {
    return this.#current
  }

  /** The node ports that the host must send on. */
  get nodePorts(): readonly NodePort[] {
    return this.#nodePorts
  }

  get virtualAddresses(): readonly string[] {
    return this.#here.virtualAddresses
  }

  /** From now on every change goes to `handOver`. */
  follow(handOver: (services: readonly ServicePort[]) => Promise<void>): void {
    this.#handOver = handOver
    this.#unsubscribe = this.#options.store.onChange((changes) => this.#note(changes))
    // What changed since it was computed first.
    for (const service of this.#options.store.list('Service')) this.#dirty.add(nameOf(service))
    for (const name of this.#computed.keys()) this.#dirty.add(name)
    this.#retry = setInterval(() => this.#settle(), RETRY_MS).unref()
    this.#settle()
    this.#refresh()
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.()
    clearInterval(this.#retry)
    await this.#turn
  }

  #note(changes: readonly Change[]): void {
    for (const { key, previous, current } of changes) {
      for (const object of [previous, current]) {
        if (object?.kind === 'Service') this.#dirty.add(nameOf(object))
        if (object?.kind === 'EndpointSlice') this.#dirty.add(serviceOf(object))
        if (object?.kind === 'Pod') this.#noteSelecting(object)
      }
      if (key.kind === 'Node' && key.name === this.#options.own.name) this.#noteHere()
    }
    if (changes.some(({ key }) => key.kind === 'Service')) this.#settle()
    this.#refresh()
  }

  #noteSelecting(pod: Pod): void {
    for (const [name, { service }] of this.#computed) if (selects(service, pod)) this.#dirty.add(name)
  }

  #noteHere(): void {
    const here = this.#whereWeAre()
    if (isDeepStrictEqual(here, this.#here)) return
    this.#here = here
    for (const [name, { service }] of this.#computed) if (nodePortsOf(service).length > 0) this.#dirty.add(name)
  }

  #whereWeAre(): Here {
    const { own, store } = this.#options
    const underlay = store.get('Node', own.name)?.status?.network.underlayAddresses ?? []
    return {
      nodeName: own.name,
      addresses: [...new Set([own.underlayAddress, ...underlay, ...own.podCIDRs.map(gatewayOf)])],
      virtualAddresses: own.podCIDRs.map(networkAddressOf),
    }
  }

  #refresh(): void {
    if (this.#dirty.size === 0 || this.#handOver === undefined || this.#turn !== undefined) return
    this.#turn = this.#handOverAll().finally(() => {
      this.#turn = undefined
    })
  }

  async #handOverAll(): Promise<void> {
    try {
      while (this.#dirty.size > 0) {
        const next = this.#compute()
        if (next === this.#current) continue
        this.#current = next
        await this.#handOver?.(next)
      }
    } catch (error) {
      this.#options.log.error({ err: error }, 'the data path refused new services')
    }
  }

  /** Makes anew what is dirty. The same array where nothing came of it. */
  #compute(): readonly ServicePort[] {
    const slices = Map.groupBy(this.#options.store.list('EndpointSlice'), serviceOf)
    const pods = Map.groupBy(this.#options.store.list('Pod'), ({ metadata }) => metadata.namespace)
    let isChanged = false
    for (const name of this.#dirty) {
      const [namespace = '', serviceName = ''] = name.split('/')
      const service = this.#options.store.get('Service', serviceName, namespace)
      const before = this.#computed.get(name)
      if (service === undefined) {
        isChanged = this.#computed.delete(name) || isChanged
        continue
      }
      const ports = servicePortsOf(service, slices.get(name) ?? [], pods.get(namespace) ?? [], this.#here)
      isChanged ||= !isDeepStrictEqual(before?.ports, ports)
      this.#computed.set(name, { service, ports })
    }
    this.#dirty.clear()
    if (!isChanged) return this.#current
    // By name, so that every polderd decides alike whose a frontend is that two have.
    const sorted = [...this.#computed].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, value]) => value)
    this.#nodePorts = sorted.flatMap(({ service }) => nodePortsOf(service))
    return sorted.flatMap(({ ports }) => ports)
  }

  #settle(): void {
    const { store, log } = this.#options
    for (const service of store.list('Service')) {
      const name = nameOf(service)
      if (this.#settling.has(name) || store.isSettled(service)) continue
      this.#settling.add(name)
      store
        .settleService(service)
        .catch((error) => log.warn({ err: error, service: name }, 'the Service has no addresses yet'))
        .finally(() => this.#settling.delete(name))
    }
  }
}

function nameOf({ metadata }: Service): string {
  return `${metadata.namespace}/${metadata.name}`
}

function serviceOf({ metadata }: EndpointSlice): string {
  return `${metadata.namespace}/${metadata.labels?.[SERVICE_NAME_LABEL] ?? ''}`
}
