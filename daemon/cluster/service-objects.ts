/**
 * Services and the endpoints behind them, as Kubernetes shapes them: the fields that polder acts on, typed. What was
 * given to a Service (addresses, node ports) stands in its status file, and shows in the spec that others read.
 */
import type { Condition, Metadata } from './objects.ts'

export type ServiceProtocol = 'TCP' | 'UDP' | 'SCTP'
export type IpFamily = 'IPv4' | 'IPv6'

export interface ServicePortSpec {
  name?: string
  protocol: ServiceProtocol
  port: number
  /** Absent: as `port`. A name is that of a container's port. */
  targetPort?: number | string
  /** Absent or 0: any free one, where the type has node ports. */
  nodePort?: number
  appProtocol?: string
}

export interface ServiceSpec {
  type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
  selector?: Record<string, string>
  /** `None`: headless. Absent or empty: any free one. */
  clusterIP?: string
  clusterIPs?: string[]
  ipFamilies?: IpFamily[]
  ipFamilyPolicy?: 'SingleStack' | 'PreferDualStack' | 'RequireDualStack'
  ports?: ServicePortSpec[]
  externalName?: string
  internalTrafficPolicy?: 'Cluster' | 'Local'
  externalTrafficPolicy?: 'Cluster' | 'Local'
  sessionAffinity?: 'None' | 'ClientIP'
  sessionAffinityConfig?: { clientIP?: { timeoutSeconds?: number } }
  publishNotReadyAddresses?: boolean
  /** PreferClose is the older name of PreferSameZone. */
  trafficDistribution?: 'PreferClose' | 'PreferSameZone' | 'PreferSameNode'
  /** A wish; see also external-plan.ts. */
  loadBalancerIP?: string
  /** Absent: polder's. Of another class: somebody else's affair. */
  loadBalancerClass?: string
  allocateLoadBalancerNodePorts?: boolean
  /** Who may come to the load balancer addresses; none: everybody. */
  loadBalancerSourceRanges?: string[]
  /** Addresses that somebody routes to the nodes. */
  externalIPs?: string[]
  /** Where a node says whether it has endpoints. Absent or 0: any free one, where the traffic policy is Local. */
  healthCheckNodePort?: number
}

export interface ServiceNodePort {
  port: number
  protocol: ServiceProtocol
  nodePort: number
}

/** An address of its own at which a Service is met from beyond the cluster. */
export interface ServiceExternal {
  ip: string
  port: number
  protocol: ServiceProtocol
}

export interface ServiceStatus {
  clusterIPs: string[]
  nodePorts: ServiceNodePort[]
  loadBalancer?: { ingress: { ip: string }[] }
  /** Those of spec.externalIPs that are its own, port by port. */
  externals?: ServiceExternal[]
  healthCheckNodePort?: number
  conditions: Condition[]
}

export interface Service {
  apiVersion: 'v1'
  kind: 'Service'
  metadata: Metadata
  spec: ServiceSpec
  status?: ServiceStatus
}

export interface SliceEndpoint {
  addresses: string[]
  conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean }
  hostname?: string
  nodeName?: string
  zone?: string
  /** For whom this one is near, as far as whoever wrote it knows. */
  hints?: { forZones?: { name: string }[]; forNodes?: { name: string }[] }
  targetRef?: { kind?: string; namespace?: string; name?: string; uid?: string }
}

export interface EndpointSlice {
  apiVersion: 'discovery.k8s.io/v1'
  kind: 'EndpointSlice'
  metadata: Metadata
  addressType: IpFamily | 'FQDN'
  endpoints: SliceEndpoint[]
  ports?: { name?: string; protocol: ServiceProtocol; port?: number; appProtocol?: string }[]
}

/** Which Service a slice belongs to. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'
export const HEADLESS = 'None'
export const NODE_PORT_FIRST = 30_000
export const NODE_PORT_LAST = 32_767
/** The condition that says whether a Service has what it asks for. */
export const ACCEPTED = 'Accepted'

/** The Service as others read it: what was given to it stands in its spec. */
export function withAllocation(service: Service, status: ServiceStatus): Service {
  const { clusterIPs, nodePorts, healthCheckNodePort } = status
  const ports = service.spec.ports?.map((port) => {
    const given = nodePorts.find((one) => one.port === port.port && one.protocol === port.protocol)
    return given === undefined ? port : { ...port, nodePort: given.nodePort }
  })
  const [clusterIP] = clusterIPs
  const spec: ServiceSpec = { ...service.spec, ...(ports !== undefined && { ports }) }
  delete spec.clusterIP
  delete spec.clusterIPs
  delete spec.healthCheckNodePort
  if (healthCheckNodePort !== undefined) spec.healthCheckNodePort = healthCheckNodePort
  if (clusterIP !== undefined) Object.assign(spec, { clusterIP, clusterIPs })
  if (clusterIP !== undefined && clusterIP !== HEADLESS) spec.ipFamilies = clusterIPs.map(familyOf)
  return { ...service, spec, status }
}

/** Why a Service does not have what it asks for; undefined where it has, or nobody has looked yet. */
export function refusalOf({ status }: Service): string | undefined {
  const condition = status?.conditions.find(({ type }) => type === ACCEPTED)
  return condition?.status === 'False' ? (condition.message ?? condition.reason) : undefined
}

/** Its addresses from the pools. */
export function balancerAddressesOf(status: ServiceStatus | undefined): string[] {
  return status?.loadBalancer?.ingress.map(({ ip }) => ip) ?? []
}

export function familyOf(address: string): IpFamily {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
