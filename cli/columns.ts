/** What `get` shows of each kind: column headings, and the cells of one object. `wide` adds to the right. */
import type { Attachment } from '../daemon/attachments/attachment.ts'
import { type Namespace, type Node, nodeOf, type Pod } from '../daemon/cluster/objects.ts'
import {
  balancerAddressesOf,
  type EndpointSlice,
  refusalOf,
  SERVICE_NAME_LABEL,
  type Service,
} from '../daemon/cluster/service-objects.ts'
import type { Problem } from '../daemon/cluster/store.ts'
import { formatAge } from './age.ts'
import { endpointsText } from './describe-service.ts'
import { podAddresses, summarizePod } from './pod-status.ts'

/** An attachment with the node that has it, which the record itself does not say. */
export type NodeAttachment = Attachment & { kind: 'Attachment'; node: string }
export type NodeProblem = Problem & { kind: 'Problem' }
export type Row = Pod | Node | Namespace | Service | EndpointSlice | NodeAttachment | NodeProblem

export interface View {
  wide: boolean
  /** Show the namespace of each object, for lists across namespaces. */
  namespaces: boolean
  labels: boolean
  nowMs: number
}

export function headings(kind: Row['kind'], view: View): string[] {
  const labels = view.labels ? ['LABELS'] : []
  switch (kind) {
    case 'Pod':
      return [
        ...(view.namespaces ? ['NAMESPACE'] : []),
        ...['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE'],
        ...(view.wide ? ['IPS', 'NODE'] : []),
        ...labels,
      ]
    case 'Node':
      return ['NAME', 'STATUS', 'AGE', 'VERSION', ...(view.wide ? ['POD-CIDRS', 'UNDERLAY', 'MTU'] : []), ...labels]
    case 'Namespace':
      return ['NAME', 'STATUS', 'AGE', ...labels]
    case 'Service':
      return [
        ...(view.namespaces ? ['NAMESPACE'] : []),
        ...['NAME', 'TYPE', 'CLUSTER-IP', 'EXTERNAL-IP', 'PORT(S)', 'STATUS', 'AGE'],
        ...(view.wide ? ['SELECTOR'] : []),
        ...labels,
      ]
    case 'EndpointSlice':
      return [
        ...(view.namespaces ? ['NAMESPACE'] : []),
        ...['NAME', 'SERVICE', 'ADDRESSTYPE', 'PORTS', 'ENDPOINTS', 'AGE'],
        ...labels,
      ]
    case 'Attachment':
      return ['CONTAINER', 'INTERFACE', 'ADDRESSES', 'POD', 'NODE', 'AGE', ...(view.wide ? ['NETWORK', 'NETNS'] : [])]
    case 'Problem':
      return ['PLACE', 'MESSAGE']
  }
}

export function cells(row: Row, view: View): string[] {
  switch (row.kind) {
    case 'Pod':
      return [...podCells(row, view), ...labelCells(row, view)]
    case 'Node':
      return [...nodeCells(row, view), ...labelCells(row, view)]
    case 'Namespace':
      return [row.metadata.name, row.status?.phase ?? 'Active', age(row, view), ...labelCells(row, view)]
    case 'Service':
      return [...serviceCells(row, view), ...labelCells(row, view)]
    case 'EndpointSlice':
      return [...sliceCells(row, view), ...labelCells(row, view)]
    case 'Attachment':
      return attachmentCells(row, view)
    case 'Problem':
      return [row.place, row.message.replaceAll('\n', ' ')]
  }
}

function podCells(pod: Pod, view: View): string[] {
  const { ready, status, restarts } = summarizePod(pod)
  return [
    ...(view.namespaces ? [pod.metadata.namespace ?? ''] : []),
    ...[pod.metadata.name, ready, status, String(restarts), age(pod, view)],
    ...(view.wide ? [orNone(podAddresses(pod).join(',')), orNone(nodeOf(pod))] : []),
  ]
}

function nodeCells(node: Node, view: View): string[] {
  const network = node.status?.network
  const underlay = network?.underlayAddress ?? node.metadata.annotations?.['polder/underlay-address']
  return [
    ...[node.metadata.name, nodeStatus(node), age(node, view), orNone(node.status?.nodeInfo?.polderVersion)],
    ...(view.wide
      ? [orNone(node.spec.podCIDRs.join(',')), orNone(underlay), orNone(network?.mtuBytes.toString())]
      : []),
  ]
}

function serviceCells(service: Service, view: View): string[] {
  const { metadata, spec, status } = service
  const refused = refusalOf(service) !== undefined
  const ports = spec.ports?.map(
    ({ port, protocol, nodePort }) => `${port}${nodePort ? `:${nodePort}` : ''}/${protocol}`,
  )
  const selector = Object.entries(spec.selector ?? {}).map(([key, value]) => `${key}=${value}`)
  return [
    ...(view.namespaces ? [metadata.namespace ?? ''] : []),
    ...[metadata.name, spec.type, orNone(status?.clusterIPs.join(','))],
    ...[externalText(service), orNone(ports?.join(','))],
    ...[refused ? 'Refused' : status === undefined ? 'Pending' : 'Accepted', age(service, view)],
    ...(view.wide ? [orNone(selector.join(','))] : []),
  ]
}

/** What is met from beyond the cluster, but for node ports. */
function externalText({ spec, status }: Service): string {
  const externals = (status?.externals ?? []).map(({ ip }) => ip)
  const addresses = [...new Set([...balancerAddressesOf(status), ...externals])]
  const isWaiting = spec.type === 'LoadBalancer' && balancerAddressesOf(status).length === 0
  return [...(isWaiting ? ['<pending>'] : []), ...addresses].join(',') || '<none>'
}

function sliceCells(slice: EndpointSlice, view: View): string[] {
  const { metadata, addressType, ports } = slice
  return [
    ...(view.namespaces ? [metadata.namespace ?? ''] : []),
    ...[metadata.name, orNone(metadata.labels?.[SERVICE_NAME_LABEL]), addressType],
    ...[orNone(ports?.map(({ port, protocol }) => `${port}/${protocol}`).join(',')), endpointsText(slice)],
    age(slice, view),
  ]
}

/** A node that nobody reports about, such as one written by hand, is neither ready nor not. */
export function nodeStatus(node: Node): string {
  const ready = node.status?.conditions.find((condition) => condition.type === 'Ready')
  if (ready === undefined || ready.status === 'Unknown') return 'Unknown'
  return ready.status === 'True' ? 'Ready' : 'NotReady'
}

function attachmentCells(attachment: NodeAttachment, view: View): string[] {
  const { containerId, ifName, addresses, pod, node, createdAt, network, netns } = attachment
  const shortId = /^[0-9a-f]{64}$/.test(containerId) && !view.wide ? containerId.slice(0, 13) : containerId
  return [
    ...[shortId, ifName, addresses.join(','), orNone(pod && `${pod.namespace}/${pod.name}`), node],
    ...[formatAge(createdAt, view.nowMs), ...(view.wide ? [network, netns] : [])],
  ]
}

function labelCells(object: Extract<Row, { metadata: object }>, view: View): string[] {
  if (!view.labels) return []
  const labels = Object.entries(object.metadata.labels ?? {}).map(([key, value]) => `${key}=${value}`)
  return [orNone(labels.join(','))]
}

function age(object: Extract<Row, { metadata: object }>, view: View): string {
  return formatAge(object.metadata.creationTimestamp, view.nowMs)
}

function orNone(text: string | undefined): string {
  return text === undefined || text === '' ? '<none>' : text
}
