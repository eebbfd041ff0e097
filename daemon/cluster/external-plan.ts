/**
 * What a Service asks for that is met from beyond the cluster, but for node ports: load balancer addresses from the pools,
 * addresses that others route to the nodes (externalIPs), and the port at which a node says whether it has endpoints
 * (healthCheckNodePort). And what of that it cannot have whatever others have. Pure.
 */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { NEVER_ONE_HOST, poolHolds, poolOf } from '../config/address-pool.ts'
import {
  familyOf,
  type IpFamily,
  NODE_PORT_FIRST,
  NODE_PORT_LAST,
  type Service,
  type ServiceExternal,
  type ServiceSpec,
} from './service-objects.ts'
import type { ServiceRanges, WantedAddress } from './service-plan.ts'

/** The class of Services whose load balancer polder is; those without a class are its own, too. */
export const LOAD_BALANCER_CLASS = 'polder/load-balancer'
/** Addresses that a Service wishes for, by commas: one for each family. Goes before spec.loadBalancerIP. */
export const BALANCER_ADDRESSES_ANNOTATION = 'polder/load-balancer-ips'

export interface ExternalPlan {
  balancer: WantedAddress[]
  externals: ServiceExternal[]
  /** Undefined: none; 0: any free one. */
  healthCheckNodePort: number | undefined
}

export const NOTHING_EXTERNAL: ExternalPlan = { balancer: [], externals: [], healthCheckNodePort: undefined }

/** `families`: those that the Service has addresses of. Mistakes go to the end of the list. */
export function planExternal(
  service: Service,
  families: readonly IpFamily[],
  ranges: ServiceRanges,
  mistakes: string[],
): ExternalPlan {
  const isBalanced = isOurBalancer(service.spec)
  return {
    balancer: isBalanced ? planBalancer(service, families, ranges, mistakes) : [],
    externals: planExternals(service.spec, families, ranges, mistakes),
    healthCheckNodePort: isBalanced ? planHealthCheck(service.spec, mistakes) : undefined,
  }
}

function isOurBalancer({ type, loadBalancerClass = LOAD_BALANCER_CLASS }: ServiceSpec): boolean {
  return type === 'LoadBalancer' && loadBalancerClass === LOAD_BALANCER_CLASS
}

/** One address of each family that there is a pool of. Without any pool it waits, as in a cluster without a balancer. */
function planBalancer(
  service: Service,
  families: readonly IpFamily[],
  { loadBalancerPools: pools }: ServiceRanges,
  mistakes: string[],
): WantedAddress[] {
  const wishes = wishesOf(service, mistakes)
  const offered = new Set(pools.map((pool) => familyOf(pool)))
  for (const wish of wishes) {
    if (!families.includes(familyOf(wish)))
      mistakes.push(`${wish} is ${familyOf(wish)}, and the Service has no such address`)
    else if (pools.length === 0) mistakes.push(`${wish} cannot be had: polderd has no loadBalancerPools`)
  }
  const usable = families.filter((family) => offered.has(family))
  if (usable.length === 0 && pools.length > 0 && families.length > 0) {
    mistakes.push(`spec.type: loadBalancerPools hold no address of ${families.join(' or ')}: add a pool`)
  }
  return usable.flatMap((family) => {
    const address = wishes.find((wish) => familyOf(wish) === family)
    if (address === undefined || pools.some((pool) => poolHolds(poolOf(pool), address))) return [{ family, address }]
    mistakes.push(`${address} lies outside loadBalancerPools ${pools.join(', ')}: choose one inside, or none`)
    return []
  })
}

function wishesOf({ metadata, spec }: Service, mistakes: string[]): string[] {
  const text = metadata.annotations?.[BALANCER_ADDRESSES_ANNOTATION] ?? spec.loadBalancerIP ?? ''
  const words = text.split(',').flatMap((word) => (word.trim() === '' ? [] : word.trim()))
  const wrong = words.find((word) => isIP(word) === 0)
  if (wrong !== undefined) mistakes.push(`${BALANCER_ADDRESSES_ANNOTATION}: ${wrong} is no IP address`)
  return words.flatMap((word) => (isIP(word) === 0 ? [] : [ipaddr.parse(word).toString()]))
}

function planExternals(
  { externalIPs = [], ports = [] }: ServiceSpec,
  families: readonly IpFamily[],
  { podCIDRs, serviceCIDRs, loadBalancerPools }: ServiceRanges,
  mistakes: string[],
): ServiceExternal[] {
  const never = [...podCIDRs, ...serviceCIDRs, ...loadBalancerPools, ...NEVER_ONE_HOST]
  const addresses = [...new Set(externalIPs.map((text) => ipaddr.parse(text).toString()))]
  return addresses.flatMap((ip) => {
    const range = never.find((one) => poolHolds(poolOf(one), ip))
    if (range !== undefined)
      mistakes.push(`spec.externalIPs: ${ip} lies in ${range}: it must be an address that is routed to the nodes`)
    else if (!families.includes(familyOf(ip)))
      mistakes.push(`spec.externalIPs: ${ip} is ${familyOf(ip)}, and the Service has no such address`)
    else return ports.map(({ port, protocol }) => ({ ip, port, protocol }))
    return []
  })
}

function planHealthCheck(
  { externalTrafficPolicy, healthCheckNodePort = 0, ports = [] }: ServiceSpec,
  mistakes: string[],
): number | undefined {
  if (externalTrafficPolicy !== 'Local') return undefined
  if (healthCheckNodePort === 0) return 0
  if (ports.some(({ protocol, nodePort }) => protocol === 'TCP' && nodePort === healthCheckNodePort)) {
    mistakes.push(
      `spec.healthCheckNodePort: ${healthCheckNodePort} is a node port of this Service: choose another, or none`,
    )
    return undefined
  }
  if (healthCheckNodePort >= NODE_PORT_FIRST && healthCheckNodePort <= NODE_PORT_LAST) return healthCheckNodePort
  const range = `${NODE_PORT_FIRST}–${NODE_PORT_LAST}`
  mistakes.push(`spec.healthCheckNodePort: ${healthCheckNodePort} lies outside ${range}: choose one inside, or none`)
  return undefined
}
