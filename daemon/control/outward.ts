/**
 * What a Service needs of the host and the link, beside what the data path needs (service-ports.ts): ports and addresses
 * that the kernel must send to polder0, addresses that a node must answer for, and where it says how many endpoints it
 * has. Pure.
 */
import { isDeepStrictEqual } from 'node:util'
import type { BalancedAddress } from '../balancer/choice.ts'
import type { Pod } from '../cluster/objects.ts'
import {
  balancerAddressesOf,
  type EndpointSlice,
  familyOf,
  HEADLESS,
  type IpFamily,
  type Service,
  type ServiceProtocol,
} from '../cluster/service-objects.ts'
import { endpointsOf, usable } from './endpoints.ts'
import { type Here, type NodePort, nodePortsOf } from './service-ports.ts'

/** What comes for an address of the node itself, and is for a Service. */
export interface ExternalPort {
  ip: string
  protocol: ServiceProtocol
  port: number
  /** Where the Service has the same port, too. */
  clusterIP: string
}

/** A port at which a node says how many endpoints of a Service it has. */
export interface HealthCheck {
  namespace: string
  name: string
  port: number
  localEndpoints: number
}

export interface Outward {
  nodePorts: readonly NodePort[]
  /** Addresses that lead to polder0. */
  addresses: readonly string[]
  externals: readonly ExternalPort[]
  balanced: readonly BalancedAddress[]
  healthChecks: readonly HealthCheck[]
}

export function outwardOf(
  service: Service,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
  here: Here,
): Outward {
  const externals = externalPortsOf(service)
  const ips = [...new Set(externals.map(({ ip }) => ip))].filter((ip) => !here.nodeAddresses.includes(ip))
  const balancer = balancerAddressesOf(service.status)
  const isLocal = service.spec.externalTrafficPolicy === 'Local'
  const nodesOf = (family: IpFamily): string[] => nodesWithEndpoints(service, family, slices, pods)
  const name = `${service.metadata.namespace}/${service.metadata.name}`
  return {
    nodePorts: nodePortsOf(service),
    addresses: [...balancer, ...ips],
    externals,
    balanced: balancer.map((address) => ({
      address,
      service: name,
      nodes: isLocal ? nodesOf(familyOf(address)) : undefined,
    })),
    healthChecks: healthChecksOf(service, slices, pods, here),
  }
}

/** Whether there is nothing in it. */
export function isNothing(outward: Outward): boolean {
  return Object.values(outward).every((list) => list.length === 0)
}

export function areSame(one: Outward | undefined, other: Outward): boolean {
  return isDeepStrictEqual(one, other)
}

function externalPortsOf({ status }: Service): ExternalPort[] {
  return (status?.externals ?? []).flatMap(({ ip, port, protocol }) => {
    const clusterIP = status!.clusterIPs.find((one) => one !== HEADLESS && familyOf(one) === familyOf(ip))
    return clusterIP === undefined ? [] : [{ ip, port, protocol, clusterIP }]
  })
}

function nodesWithEndpoints(
  service: Service,
  family: IpFamily,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
): string[] {
  const { ports = [] } = service.spec
  const endpoints = ports.flatMap((port) => endpointsOf(service, port, family, slices, pods))
  const nodes = new Set(endpoints.flatMap(({ nodeName }) => nodeName ?? []))
  return [...nodes].filter((node) => usable(endpoints.filter(({ nodeName }) => nodeName === node)).length > 0).sort()
}

function healthChecksOf(
  service: Service,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
  { nodeName }: Here,
): HealthCheck[] {
  const { metadata, spec, status } = service
  const port = status?.healthCheckNodePort
  if (port === undefined) return []
  const [first = ''] = status!.clusterIPs
  const found = (spec.ports ?? []).flatMap((one) => {
    const endpoints = endpointsOf(service, one, familyOf(first), slices, pods)
    return usable(endpoints.filter((endpoint) => endpoint.nodeName === nodeName))
  })
  const localEndpoints = new Set(found.map(({ address }) => address)).size
  return [{ namespace: metadata.namespace ?? 'default', name: metadata.name, port, localEndpoints }]
}
