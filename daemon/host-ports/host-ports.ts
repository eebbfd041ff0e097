/**
 * Which port of this node is whose. A pod gets all the host ports that it asks for, or none and the reason: another pod
 * has one, a Service has it as its node port, or a process of the host listens at it. A process is not taken its port
 * away, or a pod could have the node's own ssh; one that begins to listen later hears nothing of what comes from outside.
 *
 * Published is what the data path carries and the host sends on; both are told of every change.
 */
import type { Attachment } from '../attachments/attachment.ts'
import { NODE_PORT_FIRST, NODE_PORT_LAST } from '../cluster/service-objects.ts'
import { PolderError } from '../errors.ts'
import { type Listener, listenersAt, ownerOf } from './listeners.ts'
import { familiesOf, type HostPort, nameOfPort, onlyAddressOf, overlaps, type PortMapping } from './port-mapping.ts'

/** Those of one attachment. */
export interface Published {
  readonly containerId: string
  readonly ifName: string
  readonly pod?: { namespace: string; name: string }
  readonly addresses: readonly string[]
  readonly hostPorts: readonly HostPort[]
}

/** Who works by what is published. Both resolve once they do. */
export interface Followers {
  carry(): Promise<void>
  sendOn(): Promise<void>
}

export interface HostPortsOptions {
  /** `Service NAMESPACE/NAME`, where it has this as a node port. */
  nodePortOwner: (mapping: PortMapping) => string | undefined
  listeners?: (mapping: PortMapping) => Listener[]
}

const NOBODY: Followers = { carry: async () => {}, sendOn: async () => {} }
/** Where a port of the virtual address is looked for when the host port itself is not free there. */
const SPARE_FIRST = 1024
const SPARE_LAST = NODE_PORT_FIRST - 1

type Names = Pick<Published, 'containerId' | 'ifName'>

export class HostPorts {
  readonly #nodePortOwner: HostPortsOptions['nodePortOwner']
  readonly #listeners: NonNullable<HostPortsOptions['listeners']>
  readonly #published = new Map<string, Published>()
  #followers = NOBODY

  constructor({
    nodePortOwner,
    listeners = ({ protocol, hostPort }) => listenersAt(protocol, hostPort),
  }: HostPortsOptions) {
    this.#nodePortOwner = nodePortOwner
    this.#listeners = listeners
  }

  follow(followers: Followers): void {
    this.#followers = followers
  }

  list(): Published[] {
    return [...this.#published.values()]
  }

  /**
   * They are this attachment's from now on, until release(). Throws `host-port-taken`, and `host-port-unavailable` for an
   * address of a family that the pod has not.
   */
  reserve(owner: Omit<Published, 'hostPorts'>, wanted: readonly PortMapping[]): HostPort[] {
    const hostPorts: HostPort[] = []
    for (const mapping of wanted) {
      this.#refuseTaken(mapping, hostPorts)
      refuseFamily(mapping, owner.addresses)
      hostPorts.push({ ...mapping, virtualPort: this.#virtualPortFor(mapping, hostPorts) })
    }
    if (hostPorts.length > 0) this.#published.set(keyOf(owner), { ...owner, hostPorts })
    return hostPorts
  }

  /** As the record has them. */
  restore(attachment: Attachment): void {
    const { hostPorts } = attachment
    if (hostPorts !== undefined) this.#published.set(keyOf(attachment), { ...attachment, hostPorts })
  }

  /** May be repeated. Answers whether there were any. */
  release(names: Names): boolean {
    return this.#published.delete(keyOf(names))
  }

  /** Resolves once what comes to the host ports of now reaches their pods. Rejects where the host refuses. */
  async publish(): Promise<void> {
    await this.#followers.carry()
    await this.#followers.sendOn()
  }

  /** Resolves once the data path has forgotten what was released; the host forgets it at its next look. */
  retract(): Promise<void> {
    return this.#followers.carry()
  }

  #refuseTaken(mapping: PortMapping, others: readonly HostPort[]): void {
    const name = nameOfPort(mapping)
    if (others.some((other) => overlaps(other, mapping))) throw taken(name, 'the pod asks for it twice')
    for (const published of this.#published.values()) {
      const theirs = published.hostPorts.find((other) => overlaps(other, mapping))
      if (theirs !== undefined) throw taken(name, `${whoIs(published)} has ${nameOfPort(theirs)}`)
    }
    const service = this.#nodePortOwner(mapping)
    if (service !== undefined) throw taken(name, `it is the node port of ${service}`)
    const listener = this.#listeners(mapping).find((one) => hears(one, mapping))
    if (listener !== undefined) {
      throw taken(name, `${ownerOf(listener)} listens at ${listener.address}, port ${listener.port}`)
    }
  }

  #virtualPortFor({ protocol, hostPort }: PortMapping, others: readonly HostPort[]): number {
    const all = [...others, ...this.list().flatMap(({ hostPorts }) => hostPorts)]
    const used = new Set(all.filter((other) => other.protocol === protocol).map(({ virtualPort }) => virtualPort))
    const isNodePort = hostPort >= NODE_PORT_FIRST && hostPort <= NODE_PORT_LAST
    if (!isNodePort && !used.has(hostPort)) return hostPort
    let port = SPARE_FIRST
    while (used.has(port) && port < SPARE_LAST) port++
    if (!used.has(port)) return port
    throw taken(nameOfPort({ protocol, hostPort, containerPort: 0 }), `this node has ${used.size} host ports`)
  }
}

/** Whether what a process hears would be the pod's. */
function hears({ address }: Listener, mapping: PortMapping): boolean {
  const only = onlyAddressOf(mapping)
  const families = familiesOf(mapping)
  if (address === '::') return true
  if (!families.includes(address.includes(':') ? 'IPv6' : 'IPv4')) return false
  // The kernel leads ::1 nowhere else.
  if (address === '::1') return false
  return address === '0.0.0.0' || only === undefined || only === address
}

function refuseFamily(mapping: PortMapping, addresses: readonly string[]): void {
  const families = familiesOf(mapping)
  if (addresses.some((address) => families.includes(address.includes(':') ? 'IPv6' : 'IPv4'))) return
  throw new PolderError(
    'host-port-unavailable',
    `host port ${nameOfPort(mapping)} cannot lead to the pod, which has no ${families.join(' or ')} address`,
    'leave hostIP out, or give one of the other family',
  )
}

function taken(name: string, why: string): PolderError {
  return new PolderError(
    'host-port-taken',
    `host port ${name} is taken: ${why}`,
    'choose another hostPort, a hostIP of your own for each, or another node; or leave hostPort out and use a Service',
  )
}

function whoIs({ pod, containerId }: Published): string {
  return pod === undefined ? `container ${containerId}` : `pod ${pod.namespace}/${pod.name}`
}

function keyOf({ containerId, ifName }: Names): string {
  return `${containerId}@${ifName}`
}
