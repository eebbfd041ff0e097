/**
 * polder0, the host's own way into the pod network: a TUN in polderd's namespace that has the node's gateway
 * addresses, and to which the cluster's pod ranges are routed. What is there already is kept where it is right, so a
 * restart changes nothing; what others took away is put back by the same function (daemon/host/upkeep.ts).
 */
import type { Config } from '../config/config.ts'
import { PolderError } from '../errors.ts'
import { HOST_DESCRIPTOR as DESCRIPTOR, type FdStore } from '../handover/fd-store.ts'
import type { Link, LinkSettings } from '../netlink/link.ts'
import type { Netlink } from '../netlink/netlink.ts'
import { RTPROT_POLDER } from '../netlink/route.ts'
import { isTun, type NicError, openTun } from '../nic/nic.ts'
import { HOST_DEVICE } from './device-name.ts'
import type { Mended } from './mended.ts'
import { readSysctl, showSysctl, writeSysctl } from './sysctl.ts'

/** A TUN queues 500 packets by default: five milliseconds of pause would lose small datagrams above 100,000 a second. */
export const TUN_QUEUE_PACKETS = 5000
/** One super-packet in one UDP send: with its envelopes it must stay under 65,507 bytes. */
export const TUN_GSO_BYTES = 62_000

const ROUTE_LOCALNET = `net/ipv4/conf/${HOST_DEVICE}/route_localnet`
const DISABLE_IPV6 = `net/ipv6/conf/${HOST_DEVICE}/disable_ipv6`

export interface HostDeviceSpec {
  mtuBytes: number
  /** Bare addresses of the node in the pod network, one a family. */
  gateways: string[]
  /** What leads to polder0: the pod and service ranges of the whole cluster, and Services' other addresses. */
  ranges: string[]
}

/** `addresses`: Services' own, beside those of the ranges. */
export function rangesOf(
  { podCIDRs, serviceCIDRs }: Pick<Config, 'podCIDRs' | 'serviceCIDRs'>,
  addresses: readonly string[],
): string[] {
  return [...podCIDRs, ...serviceCIDRs, ...addresses.map(hostPrefix)]
}

/** Creates or finds polder0, brings it to what it should be, and resolves to its descriptor. */
export function openHostDevice(netlink: Netlink, spec: HostDeviceSpec, fdStore: FdStore): number {
  const kept = fdStore.claim(DESCRIPTOR, (fd) => isTun(fd, -1, HOST_DEVICE))
  const fd = kept ?? openDevice()
  if (kept === undefined) fdStore.put(DESCRIPTOR, fd)
  bringHostDevice(netlink, spec)
  return fd
}

function openDevice(): number {
  try {
    return openTun(-1, HOST_DEVICE)
  } catch (error) {
    const { code } = error as NicError
    if (code === 'ENOENT' || code === 'ENODEV') throw noTun()
    if (code !== 'EBUSY') throw error
    throw new PolderError(
      'device-busy',
      `the device ${HOST_DEVICE} is held by another process`,
      'Another polderd runs in this network namespace, or the polder-keeper of one with another --socket: stop it first.',
    )
  }
}

export function noTun(): PolderError {
  return new PolderError(
    'no-tun',
    'the kernel offers no TUN devices: there is no /dev/net/tun',
    'Load the module: modprobe tun. In a container or VM, let the machine outside pass /dev/net/tun on.',
  )
}

/** Changes only what is not as it should be, and answers what that was. The device must be there. */
export function bringHostDevice(netlink: Netlink, spec: HostDeviceSpec): Mended[] {
  const link = netlink.link(HOST_DEVICE)!
  return [
    ...bringLink(netlink, link, spec),
    ...bringHostSysctls(spec),
    ...bringAddresses(netlink, link, spec),
    ...bringRoutes(netlink, link, spec),
  ]
}

function bringLink(netlink: Netlink, link: Link, { mtuBytes }: HostDeviceSpec): Mended[] {
  const mended: Mended[] = []
  const settings: Omit<LinkSettings, 'up'> = {}
  if (link.mtuBytes !== mtuBytes) settings.mtuBytes = mtuBytes
  if (link.txQueueLength !== TUN_QUEUE_PACKETS) settings.txQueueLength = TUN_QUEUE_PACKETS
  if (link.gsoMaxSizeBytes !== TUN_GSO_BYTES) settings.gsoMaxSizeBytes = TUN_GSO_BYTES
  for (const [name, value] of Object.entries({ ...settings, ...(!link.up && { up: true }) })) {
    mended.push({ kind: 'link', what: `${HOST_DEVICE} ${name} ${value}` })
  }
  if (mended.length > 0) {
    // First the MTU: below 1280 a device has no IPv6, and forgets what it was told of it.
    netlink.setLink(link.index, settings)
    if (ipv6Disabled() !== undefined) netlink.setLink(link.index, { addrGenModeNone: true })
    netlink.setLink(link.index, { up: true })
  }
  return mended
}

/** The device's own settings below /proc/sys, of which the kernel gives no notice; where there is no device, there are none. */
export function bringHostSysctls({ gateways }: HostDeviceSpec): Mended[] {
  const mended: Mended[] = []
  // What a process asks of 127.0.0.1 at a node port is answered through this device; the path drops 127/8 of anybody.
  if (gateways.some((gateway) => !isIPv6(gateway)) && readSysctl(ROUTE_LOCALNET) === '0') {
    writeSysctl(ROUTE_LOCALNET, '1')
    mended.push({ kind: 'sysctl', what: `${showSysctl(ROUTE_LOCALNET)} = 1` })
  }
  // Whoever switched IPv6 off on the machine did not mean a device that is there for it.
  if (gateways.some(isIPv6) && ipv6Disabled() === '1') {
    writeSysctl(DISABLE_IPV6, '0')
    mended.push({ kind: 'sysctl', what: `${showSysctl(DISABLE_IPV6)} = 0` })
  }
  return mended
}

/** Undefined where the kernel, or the device, has no IPv6. */
function ipv6Disabled(): string | undefined {
  return readSysctl(DISABLE_IPV6)
}

function bringAddresses(netlink: Netlink, { index }: Link, { gateways }: HostDeviceSpec): Mended[] {
  const mended: Mended[] = []
  const missing = new Set(gateways.map(hostPrefix))
  for (const { address, prefixLength } of netlink.addresses(index)) {
    const present = `${address}/${prefixLength}`
    if (missing.delete(present) || !netlink.deleteAddress(index, present)) continue
    mended.push({ kind: 'address', what: `${present} dev ${HOST_DEVICE}, which is not ours, removed` })
  }
  for (const address of missing) {
    netlink.addAddress(index, address)
    mended.push({ kind: 'address', what: `${address} dev ${HOST_DEVICE}` })
  }
  return mended
}

function bringRoutes(netlink: Netlink, { index }: Link, { gateways, ranges }: HostDeviceSpec): Mended[] {
  const mended: Mended[] = []
  const present = netlink.routes({ protocol: RTPROT_POLDER }).filter((route) => route.index === index)
  for (const { dst } of present.filter((route) => !ranges.includes(route.dst))) {
    netlink.deleteRoute({ dst, index })
    mended.push({ kind: 'route', what: `${dst} dev ${HOST_DEVICE}, of another range, removed` })
  }
  for (const dst of ranges) {
    const src = gateways.find((gateway) => isIPv6(gateway) === isIPv6(dst))
    if (present.some((route) => route.dst === dst && route.src === src)) continue
    netlink.replaceRoute({ dst, index, ...(src !== undefined && { src }) })
    mended.push({ kind: 'route', what: `${dst} dev ${HOST_DEVICE}` })
  }
  return mended
}

function isIPv6(text: string): boolean {
  return text.includes(':')
}

export function hostPrefix(address: string): string {
  return `${address}/${isIPv6(address) ? 128 : 32}`
}
