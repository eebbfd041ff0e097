/**
 * polder0, the host's own way into the pod network: a TUN in polderd's namespace that has the node's gateway
 * addresses, and to which the cluster's pod ranges are routed. What is there already is kept where it is right, so a
 * restart changes nothing.
 */
import type { Netlink } from '../netlink/netlink.ts'
import { RTPROT_POLDER } from '../netlink/route.ts'
import { openTun } from '../nic/nic.ts'

export const HOST_DEVICE = 'polder0'
/** A TUN queues 500 packets by default: five milliseconds of pause would lose small datagrams above 100,000 a second. */
export const TUN_QUEUE_PACKETS = 5000
/** One super-packet in one UDP send: with its envelopes it must stay under 65,507 bytes. */
export const TUN_GSO_BYTES = 62_000

export interface HostDeviceSpec {
  mtuBytes: number
  /** Bare addresses of the node in the pod network, one a family. */
  gateways: string[]
  /** What leads to polder0: the pod ranges of the whole cluster. */
  podCIDRs: string[]
}

/** Creates or finds polder0, brings it to what it should be, and resolves to its descriptor. */
export function openHostDevice(netlink: Netlink, spec: HostDeviceSpec): number {
  const fd = openTun(-1, HOST_DEVICE)
  const { index } = netlink.link(HOST_DEVICE)!
  netlink.setLink(index, {
    mtuBytes: spec.mtuBytes,
    txQueueLength: TUN_QUEUE_PACKETS,
    gsoMaxSizeBytes: TUN_GSO_BYTES,
    addrGenModeNone: true,
    up: true,
  })
  bringAddresses(netlink, index, spec)
  bringRoutes(netlink, index, spec)
  return fd
}

function bringAddresses(netlink: Netlink, index: number, { gateways }: HostDeviceSpec): void {
  const wanted = new Set(gateways.map(hostPrefix))
  for (const { address, prefixLength } of netlink.addresses(index)) {
    const present = `${address}/${prefixLength}`
    if (!wanted.delete(present)) netlink.deleteAddress(index, present)
  }
  for (const address of wanted) netlink.addAddress(index, address)
}

function bringRoutes(netlink: Netlink, index: number, { gateways, podCIDRs }: HostDeviceSpec): void {
  const stale = netlink.routes({ protocol: RTPROT_POLDER }).filter((route) => !podCIDRs.includes(route.dst))
  for (const { dst } of stale) netlink.deleteRoute({ dst, index })
  for (const dst of podCIDRs) {
    const src = gateways.find((gateway) => gateway.includes(':') === dst.includes(':'))
    netlink.replaceRoute({ dst, index, ...(src !== undefined && { src }) })
  }
}

function hostPrefix(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`
}
