/** `describe` of a Service and of an EndpointSlice: what was asked for, what was given, and who stands behind it. */
import type { Pod } from '../daemon/cluster/objects.ts'
import {
  balancerAddressesOf,
  type EndpointSlice,
  refusalOf,
  SERVICE_NAME_LABEL,
  type Service,
  type ServicePortSpec,
  type SliceEndpoint,
} from '../daemon/cluster/service-objects.ts'
import { endpointsOf, type ServiceEndpoint } from '../daemon/control/endpoints.ts'
import { conditionField, pairs } from './describe-pod.ts'
import type { Field } from './fields.ts'

export function serviceFields(service: Service, slices: readonly EndpointSlice[], pods: readonly Pod[]): Field[] {
  const { metadata, spec, status } = service
  const own = slices.filter(({ metadata: { labels } }) => labels?.[SERVICE_NAME_LABEL] === metadata.name)
  return [
    ['Name', metadata.name],
    ['Namespace', metadata.namespace ?? 'default'],
    ['Labels', pairs(metadata.labels, '=')],
    ['Annotations', pairs(metadata.annotations, ': ')],
    ['Selector', pairs(spec.selector, '=')],
    ['Type', spec.type],
    ['External Name', spec.externalName],
    ['IPs', spec.type === 'ExternalName' ? undefined : (status?.clusterIPs ?? [])],
    ['Load Balancer IPs', spec.type === 'LoadBalancer' ? balancerText(service) : undefined],
    ['Load Balancer Source Ranges', spec.loadBalancerSourceRanges],
    ['External IPs', externalsText(service)],
    ['Health Check Node Port', status?.healthCheckNodePort?.toString()],
    ['Problem', refusalOf(service)],
    ['Session Affinity', spec.sessionAffinity ?? 'None'],
    ['Internal Traffic Policy', spec.internalTrafficPolicy ?? 'Cluster'],
    ['External Traffic Policy', hasNodePorts(service) ? (spec.externalTrafficPolicy ?? 'Cluster') : undefined],
    ['Ports', spec.ports?.map((port) => portField(service, port, own, pods))],
    ['Conditions', status?.conditions.map(conditionField)],
  ]
}

function balancerText({ spec, status }: Service): string[] {
  const addresses = balancerAddressesOf(status)
  if (addresses.length > 0) return addresses
  return [spec.loadBalancerClass === undefined ? 'none yet: see loadBalancerPools' : `class ${spec.loadBalancerClass}`]
}

function externalsText({ status }: Service): string[] | undefined {
  const ips = new Set((status?.externals ?? []).map(({ ip }) => ip))
  return ips.size === 0 ? undefined : [...ips]
}

export function sliceFields({ metadata, addressType, endpoints, ports }: EndpointSlice): Field[] {
  return [
    ['Name', metadata.name],
    ['Namespace', metadata.namespace ?? 'default'],
    ['Labels', pairs(metadata.labels, '=')],
    ['Address Type', addressType],
    ['Ports', ports?.map(({ name, port, protocol }) => `${name === undefined ? '' : `${name} `}${port}/${protocol}`)],
    ['Endpoints', endpoints.map((one) => `${one.addresses.join(',')} ${describeSliceEndpoint(one)}`)],
  ]
}

/** `80/TCP`, `http 80/TCP, node port 30080` */
export function portText({ name, port, protocol, nodePort }: ServicePortSpec): string {
  const text = `${name === undefined ? '' : `${name} `}${port}/${protocol}`
  return nodePort === undefined || nodePort === 0 ? text : `${text}, node port ${nodePort}`
}

function portField(
  service: Service,
  port: ServicePortSpec,
  slices: readonly EndpointSlice[],
  pods: readonly Pod[],
): Field {
  const found = (['IPv4', 'IPv6'] as const).flatMap((family) => endpointsOf(service, port, family, slices, pods))
  return [portText(port), found.length === 0 ? ['no endpoints'] : found.map(describeEndpoint)]
}

function describeEndpoint({ address, port, nodeName, ...state }: ServiceEndpoint): string {
  const socket = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  return `${socket} ${stateText(state)}${nodeName === undefined ? '' : ` on ${nodeName}`}`
}

function describeSliceEndpoint({ conditions = {}, nodeName, targetRef }: SliceEndpoint): string {
  const { ready = true, terminating = false } = conditions
  const state = stateText({ ready, serving: conditions.serving ?? ready, terminating })
  const pod = targetRef?.name === undefined ? '' : ` ${targetRef.kind ?? 'Pod'} ${targetRef.name}`
  return `${state}${pod}${nodeName === undefined ? '' : ` on ${nodeName}`}`
}

function stateText({
  ready,
  serving,
  terminating,
}: Pick<ServiceEndpoint, 'ready' | 'serving' | 'terminating'>): string {
  if (terminating) return serving ? 'terminating, still serving' : 'terminating'
  return ready ? 'ready' : 'not ready'
}

function hasNodePorts({ spec }: Service): boolean {
  return spec.type === 'NodePort' || spec.type === 'LoadBalancer'
}

export function endpointsText({ endpoints }: EndpointSlice): string {
  const addresses = endpoints.map((one) => one.addresses[0]!)
  const more = addresses.length > 3 ? ` + ${addresses.length - 3} more` : ''
  return addresses.length === 0 ? '<none>' : `${addresses.slice(0, 3).join(',')}${more}`
}
