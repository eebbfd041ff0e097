/**
 * The pod's device: a TUN in the pod's namespace with the pod's addresses, each a prefix of its own (/32, /128), and a
 * default route through the gateway, which is nobody's neighbour but the way into the data path:
 *
 *   10.244.1.5/32 dev eth0        10.244.1.1 dev eth0 scope link        default via 10.244.1.1 dev eth0
 *
 * and likewise for IPv6. The device is persistent: it outlives polderd and the descriptor returned here, and goes with
 * its namespace or by deleteDevice. A TUN has no MAC address, needs no ARP, and has no carrier while nobody holds
 * its descriptor (daemon/handover). All but deleteDevice is synchronous: between the look whether a name is free and the making of it, no other call
 * runs.
 */

import { PolderError } from '../errors.ts'
import { Netlink } from '../netlink/netlink.ts'
import { NetlinkError } from '../netlink/netlink-error.ts'
import { type Route, RT_TABLE_MAIN } from '../netlink/route.ts'
import { closeFd, openTun } from '../nic/nic.ts'
import { removeLink } from './link-removal.ts'

/** A TUN drops what does not fit its queue; 500, the kernel's default, is 5 ms of small packets. */
const TX_QUEUE_LENGTH = 5_000

/** One super-packet is then one UDP send (at most 65507 bytes) after encapsulation. */
const GSO_MAX_SIZE_BYTES = 62_000

const LOOPBACK_INDEX = 1

export interface DeviceSpec {
  ifName: string
  /** Bare addresses. */
  addresses: string[]
  /** Bare addresses, at most one a family. */
  gateways: string[]
  mtuBytes: number
}

const isIPv6 = (address: string) => address.includes(':')
const hostPrefix = (address: string) => `${address}/${isIPv6(address) ? 128 : 32}`

interface PodRoute {
  dst: string
  via?: string
}

/** Of one family: the gateway is a neighbour by a route of its own, and everything else is behind it. */
interface PodRoutes {
  toGateway: PodRoute
  byGateway: PodRoute
}

function routesOf({ addresses, gateways }: DeviceSpec): PodRoutes[] {
  return gateways
    .filter((gateway) => addresses.some((address) => isIPv6(address) === isIPv6(gateway)))
    .map((gateway) => ({
      toGateway: { dst: hostPrefix(gateway) },
      byGateway: { dst: isIPv6(gateway) ? '::/0' : '0.0.0.0/0', via: gateway },
    }))
}

/** Makes the device and returns its descriptor. Throws `exists` and touches nothing where the name is taken. */
export function createDevice(netnsFd: number, spec: DeviceSpec): number {
  using netlink = new Netlink(netnsFd)
  if (netlink.link(spec.ifName) !== undefined) {
    throw new PolderError(
      'exists',
      `the network namespace already has an interface ${spec.ifName}`,
      'detach what made it first, or ask for another interface name',
    )
  }
  const fd = openTun(netnsFd, spec.ifName)
  try {
    configure(netlink, spec)
  } catch (error) {
    closeFd(fd)
    netlink.deleteLink(netlink.link(spec.ifName)!.index)
    throw error
  }
  return fd
}

/**
 * Attaches again to a device that an earlier polderd made, unless its descriptor was `kept`, and puts back what it lacks.
 * Undefined: it is gone. One that was kept stays open in any case.
 */
export function adoptDevice(netnsFd: number, spec: DeviceSpec, kept?: number): number | undefined {
  using netlink = new Netlink(netnsFd)
  if (netlink.link(spec.ifName)?.kind !== 'tun') return undefined
  const fd = kept ?? openTun(netnsFd, spec.ifName)
  try {
    configure(netlink, spec)
  } catch (error) {
    if (kept === undefined) closeFd(fd)
    throw error
  }
  return fd
}

/** Removes the device if it is there. What is no TUN is not ours. */
export async function deleteDevice(netnsFd: number, ifName: string): Promise<void> {
  const index = findTun(netnsFd, ifName)
  if (index !== undefined) await removeLink(netnsFd, index)
}

function findTun(netnsFd: number, ifName: string): number | undefined {
  using netlink = new Netlink(netnsFd)
  const link = netlink.link(ifName)
  return link?.kind === 'tun' ? link.index : undefined
}

/**
 * What is wrong with the device, in words; empty if nothing is. `expected` names what matters where others may have
 * changed something since: then a default route may as well lead elsewhere, or stand in another table.
 */
export function inspectDevice(
  netnsFd: number,
  spec: DeviceSpec,
  expected?: { addresses: string[]; destinations: string[] },
): string[] {
  using netlink = new Netlink(netnsFd)
  const link = netlink.link(spec.ifName)
  if (link === undefined) return [`interface ${spec.ifName} is missing`]
  if (link.kind !== 'tun') return [`interface ${spec.ifName} is a ${link.kind ?? 'device of another kind'}, not a tun`]
  const faults: string[] = []
  if (!link.up) faults.push(`interface ${spec.ifName} is down`)
  const addresses = netlink.addresses(link.index).map(({ address }) => address)
  for (const address of expected?.addresses ?? spec.addresses) {
    if (!addresses.includes(address)) faults.push(`address ${address} is missing`)
  }
  const routes = netlink.routes({ table: 'all' })
  const isThere = ({ dst, via }: PodRoute) =>
    routes.some(
      (route) => route.table === RT_TABLE_MAIN && route.index === link.index && route.dst === dst && route.via === via,
    )
  for (const pair of routesOf(spec)) {
    if (expected !== undefined && isReplaced(pair, expected.destinations, routes, isThere)) continue
    for (const route of [pair.toGateway, pair.byGateway]) {
      if (isThere(route)) continue
      faults.push(`route to ${route.dst}${route.via === undefined ? '' : ` via ${route.via}`} is missing`)
    }
  }
  return faults
}

/** Whether the default route is nobody's concern any more, or another one has taken its place. */
function isReplaced(
  { byGateway }: PodRoutes,
  destinations: string[],
  routes: readonly Route[],
  isThere: (route: PodRoute) => boolean,
): boolean {
  if (!destinations.includes(byGateway.dst)) return true
  if (isThere(byGateway)) return false
  // The kernel itself keeps an unreachable default route for IPv6.
  return routes.some((route) => route.dst === byGateway.dst && route.type === 'unicast')
}

/** May be repeated on a device that has some or all of it. */
function configure(netlink: Netlink, spec: DeviceSpec): void {
  const index = netlink.link(spec.ifName)!.index
  const there = netlink.addresses(index).map(({ address }) => address)
  netlink.setLink(LOOPBACK_INDEX, { up: true })
  unlessNoIPv6(() => netlink.setLink(index, { addrGenModeNone: true }))
  netlink.setLink(index, {
    mtuBytes: spec.mtuBytes,
    txQueueLength: TX_QUEUE_LENGTH,
    gsoMaxSizeBytes: GSO_MAX_SIZE_BYTES,
    up: true,
  })
  for (const address of spec.addresses) {
    if (!there.includes(address)) netlink.addAddress(index, hostPrefix(address))
  }
  for (const { toGateway, byGateway } of routesOf(spec)) {
    netlink.replaceRoute({ ...toGateway, index })
    netlink.replaceRoute({ ...byGateway, index })
  }
}

/** A kernel without IPv6 has no link-local addresses to switch off. */
function unlessNoIPv6(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof NetlinkError && error.code === 'EAFNOSUPPORT')) throw error
  }
}
