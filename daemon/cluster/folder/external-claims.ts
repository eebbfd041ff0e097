/**
 * Claims of what a Service has beyond the cluster (external-plan.ts):
 *
 *   service-claims/LB-ADDRESS.yaml                the address of a pool; it is one Service's alone
 *   service-claims/EX-ADDRESS-PROTOCOL-N.yaml     that port of an externalIP
 *   service-claims/TCP-N.yaml                     the health check's node port, from among all node ports
 *
 * In an ADDRESS of IPv6 `-` stands for `:`.
 */
import { isDeepStrictEqual } from 'node:util'
import { addressesOf, poolHolds, poolOf } from '../../config/address-pool.ts'
import type { ExternalPlan } from '../external-plan.ts'
import { balancerAddressesOf, familyOf, type ServiceExternal, type ServiceStatus } from '../service-objects.ts'
import { nodePortCandidates, type WantedAddress } from '../service-plan.ts'
import type { ClaimFiles } from './claim-files.ts'
import type { Asking } from './service-claims.ts'

/** Of a wider pool no more are handed out. */
const POOL_ADDRESSES_MAX = 2 ** 16

export type ExternalStatus = Pick<ServiceStatus, 'loadBalancer' | 'externals' | 'healthCheckNodePort'>

interface Place {
  files: ClaimFiles
  pools: readonly string[]
  /** Never a Service's. */
  nodeAddresses: readonly string[]
}

/** Whether the status has all of the plan. */
export function hasExternal(
  plan: ExternalPlan,
  status: ServiceStatus,
  isInPool: (address: string) => boolean,
): boolean {
  const { healthCheckNodePort: port } = plan
  const balancer = balancerAddressesOf(status)
  const has = ({ family, address }: WantedAddress): boolean =>
    balancer.some((one) => familyOf(one) === family && (address ?? one) === one && isInPool(one))
  return (
    balancer.length === plan.balancer.length &&
    plan.balancer.every(has) &&
    isDeepStrictEqual(status.externals ?? [], plan.externals) &&
    (port === undefined) === (status.healthCheckNodePort === undefined) &&
    (port === undefined || port === 0 || port === status.healthCheckNodePort)
  )
}

export async function claimExternal(plan: ExternalPlan, asking: Asking, place: Place): Promise<ExternalStatus> {
  const ingress: { ip: string }[] = []
  for (const wanted of plan.balancer) {
    const ip = await claimBalancer(wanted, asking, place)
    if (ip !== undefined) ingress.push({ ip })
  }
  const externals: ServiceExternal[] = []
  for (const wanted of plan.externals) {
    const other = await place.files.claim(externalName(wanted), asking.holder)
    if (other === undefined) externals.push(wanted)
    else {
      const { ip, port, protocol } = wanted
      asking.mistakes.push(`spec.externalIPs: ${ip} ${port}/${protocol} is that of Service ${other}: choose another`)
    }
  }
  const port = await claimHealthCheck(plan, asking, place)
  return {
    ...(ingress.length > 0 && { loadBalancer: { ingress } }),
    ...(externals.length > 0 && { externals }),
    ...(port !== undefined && { healthCheckNodePort: port }),
  }
}

/** The claims of what the status says. */
export function externalNames(status: ServiceStatus): string[] {
  const { externals = [], healthCheckNodePort: port } = status
  return [
    ...balancerAddressesOf(status).map(balancerName),
    ...externals.map(externalName),
    ...(port === undefined ? [] : [healthCheckName(port)]),
  ]
}

async function claimBalancer(
  { family, address }: WantedAddress,
  { holder, before, mistakes }: Asking,
  { files, pools, nodeAddresses }: Place,
): Promise<string | undefined> {
  const had = balancerAddressesOf(before).find((ip) => familyOf(ip) === family)
  const isUsable = (ip: string): boolean => !nodeAddresses.includes(ip)
  const kept =
    pools.some((pool) => had !== undefined && poolHolds(poolOf(pool), had)) && isUsable(had!) ? had : undefined
  const wanted = address ?? kept
  if (wanted === undefined) {
    const free = await files.claimFree(candidates(family, pools, isUsable), balancerName, holder)
    if (free === undefined)
      mistakes.push(`no ${family} address of loadBalancerPools is free: delete Services, or add a pool`)
    return free
  }
  if (!isUsable(wanted)) {
    mistakes.push(`${wanted} is an address of a node: choose another, or none`)
    return undefined
  }
  const other = await files.claim(balancerName(wanted), holder)
  if (other === undefined) return wanted
  mistakes.push(`${wanted} is the load balancer address of Service ${other}: choose another, or none`)
  return undefined
}

function* candidates(
  family: WantedAddress['family'],
  pools: readonly string[],
  isUsable: (ip: string) => boolean,
): Iterable<string> {
  for (const pool of pools.filter((one) => familyOf(one) === family)) {
    for (const ip of addressesOf(poolOf(pool), POOL_ADDRESSES_MAX)) if (isUsable(ip)) yield ip
  }
}

async function claimHealthCheck(
  { healthCheckNodePort: wanted }: ExternalPlan,
  { holder, before, mistakes }: Asking,
  { files }: Place,
): Promise<number | undefined> {
  if (wanted === undefined) return undefined
  const asked = wanted === 0 ? before?.healthCheckNodePort : wanted
  if (asked === undefined) {
    const free = await files.claimFree(nodePortCandidates(`${holder} health`), healthCheckName, holder)
    if (free === undefined) mistakes.push('spec.healthCheckNodePort: no node port is free: delete Services')
    return free
  }
  const other = await files.claim(healthCheckName(asked), holder)
  if (other === undefined) return asked
  mistakes.push(`spec.healthCheckNodePort: ${asked} is that of Service ${other}: choose another, or none`)
  return undefined
}

function balancerName(ip: string): string {
  return `LB-${ip.replaceAll(':', '-')}`
}

function externalName({ ip, port, protocol }: ServiceExternal): string {
  return `EX-${ip.replaceAll(':', '-')}-${protocol}-${port}`
}

function healthCheckName(port: number): string {
  return `TCP-${port}`
}
