/**
 * From a Service and those who stand behind it to what the data path works by: one service port for each port and family
 * that it has. Pure.
 *
 * A node port has two kinds of frontends. What comes from outside, or from the host, the kernel has sent on to the node's
 * virtual address (host/nftables.ts); a pod that asks for an address of the node is met at that address. Load balancer
 * addresses and externalIPs are met at themselves. Where only some sources may come to the former, these are a service
 * port of their own, with the same endpoints.
 */
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import type { Frontend, ServicePort } from '../../packet/tables/service-port.ts'
import type { Pod } from '../cluster/objects.ts'
import {
  balancerAddressesOf,
  type EndpointSlice,
  familyOf,
  HEADLESS,
  type IpFamily,
  type Service,
  type ServicePortSpec,
  type ServiceProtocol,
} from '../cluster/service-objects.ts'
import { familiesOf, type PortMapping } from '../host-ports/port-mapping.ts'
import { endpointsOf, identityOf, nameOf, type ServiceEndpoint, usable } from './endpoints.ts'
import { nearest, type Topology } from './traffic-distribution.ts'

export const PROTOCOLS: Record<ServiceProtocol, number> = { TCP: PROTOCOL_TCP, UDP: PROTOCOL_UDP, SCTP: PROTOCOL_SCTP }
const AFFINITY_SECONDS = 10_800

/** The node that this is computed for. */
export interface Here extends Topology {
  /** The node's own addresses, at which pods find its node ports. */
  addresses: readonly string[]
  /** Where the host sends what comes to a node port, one for each family. */
  virtualAddresses: readonly string[]
  /** What every node of the cluster is reached at. */
  nodeAddresses: readonly string[]
}

export interface NodePort {
  protocol: ServiceProtocol
  port: number
  family: IpFamily
}

export function servicePortsOf(
  service: Service,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
  here: Here,
): ServicePort[] {
  const { ports = [] } = service.spec
  return clusterIPsOf(service).flatMap((clusterIP) =>
    ports.flatMap((port) => {
      const family = familyOf(clusterIP)
      return portsOf(service, port, clusterIP, endpointsOf(service, port, family, slices, pods), here)
    }),
  )
}

/** The node ports that the host must send on. */
export function nodePortsOf(service: Service): NodePort[] {
  return clusterIPsOf(service).flatMap((clusterIP) =>
    (service.spec.ports ?? []).flatMap(({ protocol, nodePort }) =>
      given(service, nodePort) ? [{ protocol, port: nodePort!, family: familyOf(clusterIP) }] : [],
    ),
  )
}

/** `Service NAMESPACE/NAME`, where one has this port of the node. */
export function nodePortOwner(services: readonly Service[], mapping: PortMapping): string | undefined {
  const families = familiesOf(mapping)
  const owner = services.find((service) =>
    nodePortsOf(service).some(
      ({ protocol, port, family }) =>
        protocol === mapping.protocol && port === mapping.hostPort && families.includes(family),
    ),
  )
  return owner && `Service ${owner.metadata.namespace}/${owner.metadata.name}`
}

/** Addresses that were given to it; those it asks for may be another's. */
function clusterIPsOf({ status }: Service): string[] {
  return status?.clusterIPs.filter((address) => address !== HEADLESS) ?? []
}

function given({ status }: Service, nodePort: number | undefined): boolean {
  return nodePort !== undefined && status?.nodePorts.some((one) => one.nodePort === nodePort) === true
}

function portsOf(
  service: Service,
  port: ServicePortSpec,
  clusterIP: string,
  endpoints: readonly ServiceEndpoint[],
  here: Here,
): ServicePort[] {
  const { spec } = service
  const all = usable(endpoints)
  const near = usable(endpoints, (ready) => nearest(ready, service, here))
  const local = usable(endpoints.filter(({ nodeName }) => nodeName === here.nodeName))
  const inside = spec.internalTrafficPolicy === 'Local' ? local : near
  const outside = spec.externalTrafficPolicy === 'Local' ? local : near
  // A datagram has nothing to lose by going to another one.
  const kept =
    port.protocol === 'UDP' ? endpoints.filter((one) => all.includes(one) || one.terminating) : [...endpoints]
  const indices = (list: readonly ServiceEndpoint[]): number[] => list.map((one) => kept.indexOf(one))
  const frontends = frontendsOf(service, port, clusterIP, here)
  const balanced = balancedOf(service, port, clusterIP)
  const made: ServicePort = {
    identity: identityOf(nameOf(service, port), familyOf(clusterIP)),
    protocol: PROTOCOLS[port.protocol],
    frontends: [...frontends, ...balanced],
    endpoints: kept.map(({ address, port: number, identity }) => ({ address, port: number, identity })),
    usable: all.length,
    inside: indices(inside),
    outside: indices(outside),
    affinitySeconds:
      spec.sessionAffinity === 'ClientIP'
        ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? AFFINITY_SECONDS)
        : 0,
    sourceRanges: [],
  }
  const sourceRanges = (spec.loadBalancerSourceRanges ?? []).map((range) => range.trim())
  if (balanced.length === 0 || sourceRanges.length === 0) return [made]
  return [
    { ...made, frontends },
    { ...made, frontends: balanced, sourceRanges },
  ]
}

function balancedOf({ status }: Service, { port }: ServicePortSpec, clusterIP: string): Frontend[] {
  const addresses = balancerAddressesOf(status).filter((address) => familyOf(address) === familyOf(clusterIP))
  return addresses.map((address) => ({ address, port }))
}

function frontendsOf(service: Service, port: ServicePortSpec, clusterIP: string, here: Here): Frontend[] {
  const frontends: Frontend[] = [{ address: clusterIP, port: port.port }]
  const ofFamily = (address: string): boolean => familyOf(address) === familyOf(clusterIP)
  for (const { ip, ...external } of service.status?.externals ?? []) {
    if (!ofFamily(ip) || external.port !== port.port || external.protocol !== port.protocol) continue
    const sharesAddress = here.nodeAddresses.includes(ip)
    frontends.push({ address: ip, port: port.port, ...(sharesAddress && { sharesAddress }) })
  }
  if (!given(service, port.nodePort)) return frontends
  for (const address of here.virtualAddresses.filter(ofFamily)) {
    frontends.push({ address, port: port.nodePort! })
  }
  for (const address of here.addresses.filter(ofFamily)) {
    frontends.push({ address, port: port.nodePort!, sharesAddress: true })
  }
  return frontends
}
