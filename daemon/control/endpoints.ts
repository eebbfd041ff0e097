/**
 * Who stands behind a Service: from its EndpointSlices where it has any, else the pods that its selector picks. Pure.
 *
 * Usable for new flows are those that are ready and not terminating; where there is none, those that still serve while
 * they terminate; never others. Those that are merely there keep the flows that they have.
 */
import { hash } from 'node:crypto'
import { nodeOf, type Pod } from '../cluster/objects.ts'
import {
  type EndpointSlice,
  familyOf,
  type IpFamily,
  type Service,
  type ServicePortSpec,
  type SliceEndpoint,
} from '../cluster/service-objects.ts'

export interface ServiceEndpoint {
  address: string
  port: number
  /** The same for as long as it is the same pod behind the same service port; 31 bits, not 0. */
  identity: number
  nodeName: string | undefined
  /** As its slice says; else that of its node. */
  zone?: string | undefined
  /** Hints of its slice: for whom it is near. */
  forZones?: string[] | undefined
  forNodes?: string[] | undefined
  ready: boolean
  serving: boolean
  terminating: boolean
}

/** Those of one port and family, sorted by address, each address and port once. */
export function endpointsOf(
  service: Service,
  port: ServicePortSpec,
  family: IpFamily,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
): ServiceEndpoint[] {
  const found = slices.length > 0 ? fromSlices(service, port, family, slices) : fromPods(service, port, family, pods)
  const unique = new Map<string, ServiceEndpoint>()
  for (const endpoint of found) {
    const key = `${endpoint.address} ${endpoint.port}`
    if (!unique.has(key)) unique.set(key, endpoint)
  }
  return [...unique.values()].sort((one, other) => (one.address < other.address ? -1 : 1))
}

/** Those that new flows may go to, of these; of those that are ready, the ones that `choose` picks. */
export function usable(
  endpoints: readonly ServiceEndpoint[],
  choose: (ready: readonly ServiceEndpoint[]) => readonly ServiceEndpoint[] = (ready) => ready,
): readonly ServiceEndpoint[] {
  const ready = endpoints.filter((one) => one.ready && !one.terminating)
  return ready.length > 0 ? choose(ready) : endpoints.filter((one) => one.serving && one.terminating)
}

/** 31 bits that only depend on what they name, so that they survive every restart; never 0. */
export function identityOf(...names: string[]): number {
  return hash('sha256', names.join(' '), 'buffer').readUInt32BE() & 0x7fffffff || 1
}

export function selects(service: Service, pod: Pod): boolean {
  const wanted = Object.entries(service.spec.selector ?? {})
  if (wanted.length === 0 || pod.metadata.namespace !== service.metadata.namespace) return false
  return wanted.every(([key, value]) => pod.metadata.labels?.[key] === value)
}

function fromSlices(
  service: Service,
  port: ServicePortSpec,
  family: IpFamily,
  slices: readonly EndpointSlice[],
): ServiceEndpoint[] {
  return slices.flatMap((slice) => {
    const theirs = slice.ports?.find(
      ({ name, protocol }) => (name ?? '') === (port.name ?? '') && protocol === port.protocol,
    )
    const number = theirs?.port
    if (slice.addressType !== family || number === undefined) return []
    return slice.endpoints.map((endpoint): ServiceEndpoint => {
      const { addresses, targetRef, nodeName, zone, hints } = endpoint
      const forZones = hints?.forZones?.map(({ name }) => name)
      const forNodes = hints?.forNodes?.map(({ name }) => name)
      // They stand for the same; Kubernetes uses the first, too.
      const address = addresses[0]!
      const identity = identityOf(nameOf(service, port), targetRef?.uid ?? '', address, String(number))
      return { address, port: number, identity, nodeName, zone, forZones, forNodes, ...stateOf(service, endpoint) }
    })
  })
}

function stateOf(
  { spec }: Service,
  { conditions = {} }: Pick<SliceEndpoint, 'conditions'>,
): Pick<ServiceEndpoint, 'ready' | 'serving' | 'terminating'> {
  const { terminating = false, ready = true } = conditions
  const { serving = ready } = conditions
  if (spec.publishNotReadyAddresses) return { ready: true, serving: true, terminating: false }
  return { ready, serving, terminating }
}

function fromPods(service: Service, port: ServicePortSpec, family: IpFamily, pods: readonly Pod[]): ServiceEndpoint[] {
  return pods.flatMap((pod) => {
    const address = podAddresses(pod).find((one) => familyOf(one) === family)
    const number = targetPortOf(port, pod)
    if (address === undefined || number === undefined || !selects(service, pod)) return []
    if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return []
    const isReady = pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true
    const isTerminating = pod.metadata.deletionTimestamp !== undefined
    const identity = identityOf(nameOf(service, port), pod.metadata.uid ?? '', address, String(number))
    const conditions = { ready: isReady && !isTerminating, serving: isReady, terminating: isTerminating }
    return [{ address, port: number, identity, nodeName: nodeOf(pod), ...stateOf(service, { conditions }) }]
  })
}

function podAddresses({ status }: Pod): string[] {
  return status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP === undefined ? [] : [status.podIP])
}

/** Undefined where the pod has no port of this name. */
function targetPortOf({ port, protocol, targetPort = port }: ServicePortSpec, { spec }: Pod): number | undefined {
  if (typeof targetPort === 'number') return targetPort
  const ports = spec.containers.flatMap((container) => container.ports ?? [])
  return ports.find((one) => one.name === targetPort && (one.protocol ?? 'TCP') === protocol)?.containerPort
}

export function nameOf({ metadata }: Service, { port, protocol }: ServicePortSpec): string {
  return `${metadata.namespace}/${metadata.name} ${port}/${protocol}`
}
