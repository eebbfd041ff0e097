/**
 * A port of the node that leads to a port of one pod. Pure.
 *
 * Kubernetes API reference, core/v1 ContainerPort; CNI conventions, capability `portMappings`.
 */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { PodSpec } from '../cluster/objects.ts'
import type { IpFamily, ServiceProtocol } from '../cluster/service-objects.ts'

export interface PortMapping {
  protocol: ServiceProtocol
  hostPort: number
  containerPort: number
  /** Absent: all addresses of the node, of both families. 0.0.0.0 and :: are all of theirs. */
  hostIP?: string
}

/** One that a pod has. */
export interface HostPort extends PortMapping {
  /** The port of the node's virtual address that the host sends it on to. */
  virtualPort: number
}

const ANY = { IPv4: '0.0.0.0', IPv6: '::' } as const
const BOTH: readonly IpFamily[] = ['IPv4', 'IPv6']

/** Why a host port cannot be at this address; undefined where it can. */
export function hostIPMistake(hostIP: string): string | undefined {
  if (isIP(hostIP) === 0 || hostIP.includes('%')) return 'must be an IP address of the node, or be left out'
  const address = ipaddr.process(hostIP)
  const range = address.range()
  if (address.kind() === 'ipv6' && range === 'loopback') {
    return 'cannot be ::1, for the kernel lets it lead nowhere else: use 127.0.0.1'
  }
  if (range === 'multicast' || range === 'broadcast' || (address.kind() === 'ipv6' && range === 'linkLocal')) {
    return `must be an address that a host has for itself, not ${range === 'linkLocal' ? 'link-local' : range}`
  }
  return undefined
}

/** One way to write each address, and none for "all". */
export function canonicalHostIP(hostIP: string | null | undefined): string | undefined {
  return hostIP === undefined || hostIP === null || hostIP === '' ? undefined : ipaddr.process(hostIP).toString()
}

/** What a manifest asks for. With hostNetwork a pod listens at the node itself. */
export function wantedHostPorts({ hostNetwork, containers }: PodSpec): PortMapping[] {
  const ports = hostNetwork ? [] : containers.flatMap(({ ports = [] }) => ports)
  return ports.flatMap(({ hostPort, containerPort, protocol = 'TCP', hostIP: given }) => {
    if (!hostPort) return []
    const hostIP = canonicalHostIP(given)
    return [{ protocol, hostPort, containerPort, ...(hostIP !== undefined && { hostIP }) }]
  })
}

export function familiesOf({ hostIP }: PortMapping): readonly IpFamily[] {
  if (hostIP === undefined) return BOTH
  return [hostIP.includes(':') ? 'IPv6' : 'IPv4']
}

/** The one address that it is at; undefined: at all of its families. */
export function onlyAddressOf({ hostIP }: PortMapping): string | undefined {
  return hostIP === ANY.IPv4 || hostIP === ANY.IPv6 ? undefined : hostIP
}

/** Whether a packet could be for both. */
export function overlaps(one: PortMapping, other: PortMapping): boolean {
  if (one.protocol !== other.protocol || one.hostPort !== other.hostPort) return false
  const families = familiesOf(other)
  if (!familiesOf(one).some((family) => families.includes(family))) return false
  const [mine, theirs] = [onlyAddressOf(one), onlyAddressOf(other)]
  return mine === undefined || theirs === undefined || mine === theirs
}

export function isSame(one: PortMapping, other: PortMapping): boolean {
  return one.containerPort === other.containerPort && one.hostIP === other.hostIP && overlaps(one, other)
}

/** `8080/TCP`, `192.0.2.1:8080/TCP`, `[2001:db8::1]:8080/TCP` */
export function nameOfPort({ protocol, hostPort, hostIP }: PortMapping): string {
  if (hostIP === undefined) return `${hostPort}/${protocol}`
  return `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:${hostPort}/${protocol}`
}
