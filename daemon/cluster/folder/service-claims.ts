/**
 * Which Service has which address and node port. As with pod ranges, a file that was created exclusively is the proof
 * (claim-files.ts):
 *
 *   service-claims/IPv4-N.yaml, IPv6-N.yaml    the Nth address of the service range of that family
 *   service-claims/TCP-N.yaml, UDP-…, SCTP-…   the node port N
 *   service-claims/LB-…, EX-…                  what is met from beyond the cluster (external-claims.ts)
 *
 * Whoever comes second is told so on its object and has everything else it asks for.
 * All of this happens under the folder's lock; the files keep it right also where a file system's locks do not reach.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { poolHolds, poolOf } from '../../config/address-pool.ts'
import type { Condition, ObjectKey } from '../objects.ts'
import {
  ACCEPTED,
  familyOf,
  HEADLESS,
  type Service,
  type ServiceNodePort,
  type ServiceStatus,
} from '../service-objects.ts'
import {
  addressCandidates,
  addressOf,
  nodePortCandidates,
  numberOf,
  planService,
  type ServiceRanges,
  type WantedAddress,
  type WantedNodePort,
} from '../service-plan.ts'
import { ClaimFiles } from './claim-files.ts'
import { claimExternal, externalNames, hasExternal } from './external-claims.ts'
import { describeKey, keyOf, specPath } from './layout.ts'

/** One settling: who asks, what it had before, and what went wrong. */
export interface Asking {
  holder: string
  before: ServiceStatus | undefined
  mistakes: string[]
}

export class ServiceClaims {
  readonly #folder: string
  readonly #ranges: ServiceRanges
  readonly #files: ClaimFiles
  readonly #nodeAddresses: () => readonly string[]

  /** `nodeAddresses`: what is a node's own, and never given to a Service. */
  constructor(folder: string, ranges: ServiceRanges, nodeAddresses: () => readonly string[]) {
    this.#folder = folder
    this.#ranges = ranges
    this.#files = new ClaimFiles(folder)
    this.#nodeAddresses = nodeAddresses
  }

  /** Whether the Service has what it asks for, as far as its own status says. */
  isSettled(service: Service): boolean {
    const { status } = service
    if (status === undefined || status.conditions.every(({ type, status: is }) => type !== ACCEPTED || is !== 'True')) {
      return false
    }
    const plan = planService(service, this.#ranges)
    const has = ({ family, address }: WantedAddress): boolean =>
      status.clusterIPs.some((one) => familyOf(one) === family && (address ?? one) === one && this.#isOurs(one))
    const listens = ({ port, protocol, nodePort }: WantedNodePort): boolean =>
      status.nodePorts.some(
        (one) => one.port === port && one.protocol === protocol && (nodePort ?? one.nodePort) === one.nodePort,
      )
    const count = plan.isHeadless ? 1 : plan.addresses.length
    return (
      status.clusterIPs.length === count &&
      status.clusterIPs.includes(HEADLESS) === plan.isHeadless &&
      status.nodePorts.length === plan.nodePorts.length &&
      plan.mistakes.length === 0 &&
      plan.addresses.every(has) &&
      plan.nodePorts.every(listens) &&
      hasExternal(plan.external, status, this.#isInPool)
    )
  }

  /** Claims what the Service asks for, keeps what it has, and frees the rest of what it had. Answers what it has now. */
  async settle(service: Service, before: ServiceStatus | undefined): Promise<ServiceStatus> {
    const plan = planService(service, this.#ranges)
    const asking: Asking = { holder: holderOf(keyOf(service)), before, mistakes: plan.mistakes }
    const clusterIPs: string[] = plan.isHeadless ? [HEADLESS] : []
    for (const wanted of plan.addresses) clusterIPs.push(...(await this.#claimAddress(wanted, asking)))
    const nodePorts: ServiceNodePort[] = []
    for (const wanted of plan.nodePorts) nodePorts.push(...(await this.#claimNodePort(wanted, asking)))
    const external = await claimExternal(plan.external, asking, {
      files: this.#files,
      pools: this.#ranges.loadBalancerPools,
      nodeAddresses: this.#nodeAddresses(),
    })
    const conditions = [acceptedCondition(asking, before)]
    const status: ServiceStatus = { clusterIPs, nodePorts, ...external, conditions }
    const kept = new Set(this.#namesOf(status))
    if (before !== undefined) {
      for (const name of this.#namesOf(before)) if (!kept.has(name)) await this.#files.free(name, asking.holder)
    }
    return status
  }

  /** Frees what a Service had that is gone. */
  async free(key: ObjectKey, status: ServiceStatus | undefined): Promise<void> {
    if (status !== undefined) for (const name of this.#namesOf(status)) await this.#files.free(name, holderOf(key))
  }

  /** Frees what belongs to nobody: its Service is gone, or never got to know of it. */
  async clean(statusOf: (key: ObjectKey) => ServiceStatus | undefined): Promise<void> {
    for (const name of this.#files.names()) {
      const holder = this.#files.holder(name)
      if (holder === undefined) continue
      const [namespace = '', service = ''] = holder.split('/')
      const key: ObjectKey = { kind: 'Service', namespace, name: service }
      const status = existsSync(join(this.#folder, specPath(key))) ? statusOf(key) : undefined
      if (status === undefined || !this.#namesOf(status).includes(name)) await this.#files.free(name, holder)
    }
  }

  async #claimAddress({ family, address }: WantedAddress, asking: Asking): Promise<string[]> {
    const range = this.#ranges.serviceCIDRs.find((cidr) => familyOf(cidr) === family)!
    const nameOf = (number: number): string => `${family}-${number}`
    const had = asking.before?.clusterIPs.find((one) => one !== HEADLESS && familyOf(one) === family)
    const kept = had !== undefined && this.#isOurs(had) ? numberOf(had, range) : undefined
    const wanted = address === undefined ? kept : numberOf(address, range)
    if (wanted !== undefined) {
      const other = await this.#files.claim(nameOf(wanted), asking.holder)
      if (other === undefined) return [addressOf(wanted, range)]
      asking.mistakes.push(
        `spec.clusterIP: ${addressOf(wanted, range)} is that of Service ${other}: choose another, or none`,
      )
      return []
    }
    const number = await this.#files.claimFree(addressCandidates(range, asking.holder), nameOf, asking.holder)
    if (number !== undefined) return [addressOf(number, range)]
    asking.mistakes.push(`spec.clusterIP: no address of ${range} is free: delete Services, or set larger serviceCIDRs`)
    return []
  }

  async #claimNodePort({ port, protocol, nodePort }: WantedNodePort, asking: Asking): Promise<ServiceNodePort[]> {
    const nameOf = (number: number): string => `${protocol}-${number}`
    const had = asking.before?.nodePorts.find((one) => one.port === port && one.protocol === protocol)
    const wanted = nodePort ?? had?.nodePort
    if (wanted !== undefined) {
      const other = await this.#files.claim(nameOf(wanted), asking.holder)
      if (other === undefined) return [{ port, protocol, nodePort: wanted }]
      asking.mistakes.push(
        `spec.ports: the node port ${wanted}/${protocol} is that of Service ${other}: choose another, or none`,
      )
      return []
    }
    const seed = `${asking.holder} ${port}`
    const number = await this.#files.claimFree(nodePortCandidates(seed), nameOf, asking.holder)
    if (number !== undefined) return [{ port, protocol, nodePort: number }]
    asking.mistakes.push('spec.ports: no node port is free: delete Services')
    return []
  }

  #namesOf(status: ServiceStatus): string[] {
    const { clusterIPs, nodePorts } = status
    const addresses = clusterIPs.flatMap((address) => {
      const range = this.#ranges.serviceCIDRs.find(
        (cidr) => address !== HEADLESS && familyOf(cidr) === familyOf(address),
      )
      return range === undefined ? [] : [`${familyOf(address)}-${numberOf(address, range)}`]
    })
    return [
      ...addresses,
      ...nodePorts.map(({ protocol, nodePort }) => `${protocol}-${nodePort}`),
      ...externalNames(status),
    ]
  }

  /** The ranges may be others than those it was taken from. */
  #isOurs(address: string): boolean {
    const range = this.#ranges.serviceCIDRs.find((cidr) => familyOf(cidr) === familyOf(address))
    if (range === undefined) return false
    const number = numberOf(address, range)
    return number > 0 && number < 2 ** 16 && addressOf(number, range) === address
  }

  readonly #isInPool = (address: string): boolean =>
    this.#ranges.loadBalancerPools.some((pool) => poolHolds(poolOf(pool), address))
}

function holderOf(key: ObjectKey): string {
  return describeKey(key).split(' ')[1]!
}

function acceptedCondition({ mistakes }: Asking, before: ServiceStatus | undefined): Condition {
  const isAccepted = mistakes.length === 0
  const condition: Condition = isAccepted
    ? { type: ACCEPTED, status: 'True' }
    : { type: ACCEPTED, status: 'False', reason: 'NotAllocated', message: mistakes.join('; ') }
  const same = before?.conditions.find(({ type, status }) => type === ACCEPTED && status === condition.status)
  return { ...condition, lastTransitionTime: same?.lastTransitionTime ?? new Date().toISOString() }
}
