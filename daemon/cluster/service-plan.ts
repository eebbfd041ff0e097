/**
 * What a Service asks for: addresses of which families, which node ports, and what of that it cannot have whatever others
 * have. Pure. Where an address or a port is left open, `candidates` says in which order they are tried.
 *
 * The lower part of each range (at most 256 addresses, 86 node ports) is left to those who choose for themselves, as in
 * Kubernetes; a hash of the Service's name says where the search begins, so that a Service mostly gets again what it had.
 */
import { createHash } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import { ADDRESS_BITS, contains, formatCidr, parseCidr } from '../config/cidr.ts'
import { type ExternalPlan, NOTHING_EXTERNAL, planExternal } from './external-plan.ts'
import {
  familyOf,
  HEADLESS,
  type IpFamily,
  NODE_PORT_FIRST,
  NODE_PORT_LAST,
  type Service,
  type ServiceProtocol,
  type ServiceSpec,
} from './service-objects.ts'

const NODE_PORTS_LEFT = 86
const ADDRESSES_LEFT_MAX = 256
/** Of a wider range no more are handed out. */
const ADDRESSES_MAX = 2 ** 16

/** Where addresses of Services may lie, and where not. */
export interface ServiceRanges {
  podCIDRs: readonly string[]
  serviceCIDRs: readonly string[]
  loadBalancerPools: readonly string[]
}

export interface WantedAddress {
  family: IpFamily
  /** Undefined: any free one. */
  address: string | undefined
}

export interface WantedNodePort {
  port: number
  protocol: ServiceProtocol
  /** Undefined: any free one. */
  nodePort: number | undefined
}

export interface ServicePlan {
  isHeadless: boolean
  addresses: WantedAddress[]
  nodePorts: WantedNodePort[]
  external: ExternalPlan
  mistakes: string[]
}

export function planService(service: Service, ranges: ServiceRanges): ServicePlan {
  const { spec } = service
  const { serviceCIDRs } = ranges
  const isHeadless = spec.clusterIP === HEADLESS
  const plan: ServicePlan = { isHeadless, addresses: [], nodePorts: [], external: NOTHING_EXTERNAL, mistakes: [] }
  if (spec.type === 'ExternalName' || isHeadless) return plan
  const offered = serviceCIDRs.map((cidr) => familyOf(cidr))
  for (const family of familiesOf(spec, offered, plan.mistakes)) {
    const address = requested(spec).find((one) => familyOf(one) === family)
    const mistake = address === undefined ? undefined : misplaced(address, serviceCIDRs)
    if (mistake === undefined) plan.addresses.push({ family, address })
    else plan.mistakes.push(mistake)
  }
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') planNodePorts(spec, plan)
  const families = plan.addresses.map(({ family }) => family)
  plan.external = planExternal(service, families, ranges, plan.mistakes)
  return plan
}

function requested({ clusterIP, clusterIPs }: ServiceSpec): string[] {
  const listed = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP])
  return listed.filter((one) => one !== '').map((one) => ipaddr.parse(one).toString())
}

function familiesOf(spec: ServiceSpec, offered: readonly IpFamily[], mistakes: string[]): IpFamily[] {
  const named = spec.ipFamilies ?? requested(spec).map(familyOf)
  const policy = spec.ipFamilyPolicy ?? (named.length > 1 ? 'RequireDualStack' : 'SingleStack')
  for (const family of named.filter((one) => !offered.includes(one))) {
    mistakes.push(`spec.ipFamilies: the cluster has no service range of ${family} (serviceCIDRs)`)
  }
  const usable = named.filter((one) => offered.includes(one))
  // Who asks for what is not there gets nothing else instead.
  if (named.length > 0 && usable.length === 0) return []
  if (policy === 'SingleStack') return (usable.length > 0 ? usable : offered).slice(0, 1)
  if (policy === 'RequireDualStack' && offered.length < 2) {
    mistakes.push('spec.ipFamilyPolicy: RequireDualStack needs serviceCIDRs of both families')
  }
  return [...new Set([...usable, ...offered])]
}

function misplaced(address: string, serviceCIDRs: readonly string[]): string | undefined {
  const single = parseCidr(`${address}/${ADDRESS_BITS[address.includes(':') ? 6 : 4]}`)
  const range = serviceCIDRs.find((cidr) => contains(parseCidr(cidr), single))
  if (range === undefined) {
    return `spec.clusterIP: ${address} lies outside the service ranges ${serviceCIDRs.join(', ')}: choose one inside, or none`
  }
  if (numberOf(address, range) < addressCount(range)) return undefined
  return `spec.clusterIP: ${address} is not among the addresses of ${range} that are given to Services`
}

function planNodePorts({ type, ports, allocateLoadBalancerNodePorts }: ServiceSpec, plan: ServicePlan): void {
  const onlyAsked = type === 'LoadBalancer' && allocateLoadBalancerNodePorts === false
  for (const { port, protocol, nodePort } of ports ?? []) {
    const isOpen = nodePort === undefined || nodePort === 0
    if (isOpen && onlyAsked) continue
    if (isOpen || (nodePort >= NODE_PORT_FIRST && nodePort <= NODE_PORT_LAST)) {
      plan.nodePorts.push({ port, protocol, nodePort: isOpen ? undefined : nodePort })
      continue
    }
    const range = `${NODE_PORT_FIRST}–${NODE_PORT_LAST}`
    plan.mistakes.push(`spec.ports: the node port ${nodePort} lies outside ${range}: choose one inside, or none`)
  }
}

/** Numbers of the range's addresses; 0 is the network, and the last of IPv4 would be its broadcast address. */
export function* addressCandidates(range: string, seed: string): Iterable<number> {
  const count = addressCount(range)
  const left = Math.min(ADDRESSES_LEFT_MAX, Math.max(16, count >> 4))
  yield* candidates(left, count, seed)
  yield* candidates(1, Math.min(left, count), seed)
}

export function* nodePortCandidates(seed: string): Iterable<number> {
  yield* candidates(NODE_PORT_FIRST + NODE_PORTS_LEFT, NODE_PORT_LAST + 1, seed)
  yield* candidates(NODE_PORT_FIRST, NODE_PORT_FIRST + NODE_PORTS_LEFT, seed)
}

/** All of first … end - 1, from somewhere in the middle on. */
function* candidates(first: number, end: number, seed: string): Iterable<number> {
  const count = end - first
  if (count <= 0) return
  const begin = createHash('sha256').update(seed).digest().readUInt32BE() % count
  for (let i = 0; i < count; i++) yield first + ((begin + i) % count)
}

/** How many numbers there are, 0 among them. */
function addressCount(range: string): number {
  const { family, prefixLength } = parseCidr(range)
  const size = 2 ** Math.min(ADDRESS_BITS[family] - prefixLength, 16)
  return Math.min(ADDRESSES_MAX, family === 4 ? size - 1 : size)
}

export function addressOf(number: number, range: string): string {
  const cidr = parseCidr(range)
  return formatCidr({ ...cidr, first: cidr.first + BigInt(number) }).split('/')[0]!
}

/** The number of an address inside the range; what is beyond those that are handed out has one too. */
export function numberOf(address: string, range: string): number {
  const single = parseCidr(`${address}/${ADDRESS_BITS[address.includes(':') ? 6 : 4]}`)
  return Number(single.first - parseCidr(range).first)
}
