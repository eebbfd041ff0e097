/**
 * The underlay: through which interface and address this node reaches the others, how much fits, and the sockets on
 * it. The choice looks at the host's routes, not at the first interface: every VirtualBox VM's first one is 10.0.2.15.
 */
import { readFileSync } from 'node:fs'
import ipaddr from 'ipaddr.js'
import type { Encapsulation } from '../cluster/objects.ts'
import type { Config } from '../config/config.ts'
import { PolderError } from '../errors.ts'
import { UNDERLAY_DESCRIPTOR as DESCRIPTOR, type FdStore } from '../handover/fd-store.ts'
import type { Address } from '../netlink/address.ts'
import type { Link } from '../netlink/link.ts'
import type { Netlink } from '../netlink/netlink.ts'
import { MAX_SENDERS } from '../nic/descriptors.ts'
import { closeFd, isUnderlay, type NicError, openUnderlay } from '../nic/nic.ts'

export interface Underlay {
  interface: string
  address: string
  family: 4 | 6
  linkMtuBytes: number
  /** `address`, and the first of the other family on the same interface, if it has one. */
  addresses: string[]
}

export interface UnderlaySockets {
  underlayFd: number
  senderFds: number[]
}

/** Outer IP (20 or 40), UDP (8), VXLAN (8) and inner Ethernet (14) around every packet between nodes. */
const ENVELOPE_BYTES = { 4: 50, 6: 70 } as const
/** IPv6 needs 1280 in every pod (RFC 8200, 5). */
export const MIN_POD_MTU_BYTES = 1280

/** What an underlay interface's MTU leaves for a packet in VXLAN. */
export function tunnelMtuOf(linkMtuBytes: number, family: 4 | 6): number {
  return linkMtuBytes - ENVELOPE_BYTES[family]
}

/** What an underlay interface's MTU leaves for pods: all of it where none of their packets needs an envelope. */
export function podMtusOf(
  linkMtuBytes: number,
  family: 4 | 6,
  encapsulation: Encapsulation,
): { mtuBytes: number; tunnelMtuBytes: number } {
  const tunnelMtuBytes = Math.max(tunnelMtuOf(linkMtuBytes, family), MIN_POD_MTU_BYTES)
  return { mtuBytes: encapsulation === 'none' ? linkMtuBytes : tunnelMtuBytes, tunnelMtuBytes }
}

/** Chooses by configuration, else by the default route, else takes the only interface that is up and has an address. */
export function chooseUnderlay(netlink: Netlink, config: Config): Underlay {
  const links = netlink.links().filter(({ up, loopback, name }) => up && !loopback && name !== 'polder0')
  const addresses = netlink.addresses().filter(({ scope, avoid }) => scope === 'universe' && !avoid)
  const chosen =
    config.underlayAddress !== ''
      ? byAddress(config.underlayAddress, links, addresses)
      : config.underlayInterface !== ''
        ? byInterface(config.underlayInterface, links, addresses)
        : byRoute(netlink, links, addresses)
  if (config.underlayInterface !== '' && chosen.link.name !== config.underlayInterface) {
    throw underlayError(
      `the underlay address ${config.underlayAddress} is on ${chosen.link.name}, not on ${config.underlayInterface}`,
      'Set only one of underlayAddress and underlayInterface, or a pair that belongs together.',
    )
  }
  const { family, address } = chosen.address
  const podMtuBytes = tunnelMtuOf(chosen.link.mtuBytes, family)
  if (podMtuBytes < MIN_POD_MTU_BYTES) {
    throw underlayError(
      `the MTU of ${chosen.link.name} is ${chosen.link.mtuBytes}: ${podMtuBytes} bytes would be left for pods, IPv6 needs ${MIN_POD_MTU_BYTES}`,
      `Raise it to ${MIN_POD_MTU_BYTES + ENVELOPE_BYTES[family]} or more (ip link set ${chosen.link.name} mtu …).`,
    )
  }
  const other = addresses.find(({ index, family: theirs }) => index === chosen.link.index && theirs !== family)
  return {
    interface: chosen.link.name,
    address,
    family,
    linkMtuBytes: chosen.link.mtuBytes,
    addresses: other === undefined ? [address] : [address, other.address],
  }
}

/**
 * The underlay with its new address, where the old one is gone from its interface and another of the same family is there.
 * Never another interface, and never where the configuration names the address: an address may be gone for a moment only.
 */
export function movedUnderlay(netlink: Netlink, underlay: Underlay, config: Config): Underlay | undefined {
  const link = netlink.link(underlay.interface)
  if (link === undefined || config.underlayAddress !== '') return undefined
  const addresses = netlink.addresses(link.index).filter(({ scope }) => scope === 'universe')
  if (addresses.some(({ address }) => address === underlay.address)) return undefined
  const usable = addresses.filter(({ avoid }) => !avoid)
  const next = usable.find(({ family }) => family === underlay.family)
  if (next === undefined) return undefined
  const other = usable.find(({ family }) => family !== underlay.family)
  return {
    ...underlay,
    address: next.address,
    addresses: other === undefined ? [next.address] : [next.address, other.address],
  }
}

interface Choice {
  link: Link
  address: Address
}

function underlayError(message: string, remedy: string): PolderError {
  return new PolderError('bad-underlay', message, remedy)
}

function byAddress(wanted: string, links: Link[], addresses: Address[]): Choice {
  const normal = ipaddr.parse(wanted).toString()
  const address = addresses.find((candidate) => ipaddr.parse(candidate.address).toString() === normal)
  const link = links.find(({ index }) => index === address?.index)
  if (address !== undefined && link !== undefined) return { link, address }
  throw underlayError(
    `no interface that is up has the underlay address ${wanted}`,
    `Set underlayAddress to one of: ${list(links, addresses)}.`,
  )
}

function byInterface(name: string, links: Link[], addresses: Address[]): Choice {
  const link = links.find((candidate) => candidate.name === name)
  const address = link && firstAddress(link, addresses)
  if (link !== undefined && address !== undefined) return { link, address }
  const what = link === undefined ? `there is no interface ${name} that is up` : `${name} has no address`
  throw underlayError(what, `Set underlayInterface to the interface of one of: ${list(links, addresses)}.`)
}

function byRoute(netlink: Netlink, links: Link[], addresses: Address[]): Choice {
  const routes = netlink
    .routes()
    .filter(({ dst, type }) => type === 'unicast' && (dst === '0.0.0.0/0' || dst === '::/0'))
  for (const route of routes.sort((a, b) => a.family - b.family || a.metric - b.metric)) {
    const link = links.find(({ index }) => index === (route.index ?? route.nextHops?.[0]?.index))
    const address = link && firstAddress(link, addresses)
    if (link !== undefined && address !== undefined) return { link, address }
  }
  const usable = links.filter((link) => firstAddress(link, addresses) !== undefined)
  if (usable.length === 1) return { link: usable[0]!, address: firstAddress(usable[0]!, addresses)! }
  throw underlayError(
    'which interface leads to the other nodes is not clear: there is no default route',
    `Set underlayInterface or underlayAddress; there are: ${list(links, addresses)}.`,
  )
}

/** IPv4 before IPv6. */
function firstAddress(link: Link, addresses: Address[]): Address | undefined {
  return addresses.filter(({ index }) => index === link.index).sort((a, b) => a.family - b.family)[0]
}

function list(links: Link[], addresses: Address[]): string {
  const usable = links.flatMap((link) =>
    addresses.filter(({ index }) => index === link.index).map(({ address }) => `${address} (${link.name})`),
  )
  return usable.join(', ') || 'none (give an interface that is up an address first)'
}

/**
 * One socket that receives on the VXLAN port, and several to send from: their ports are the flows' entropy. The one that
 * receives is an earlier polderd's where that was kept and is bound to the same: what peers sent meanwhile is in it.
 */
export function openUnderlaySockets({ address }: Underlay, port: number, fdStore: FdStore): UnderlaySockets {
  const bytes = underlayBytes({ address })
  const opened: number[] = []
  try {
    const kept = fdStore.claim(DESCRIPTOR, (fd) => isUnderlay(fd, bytes, port))
    opened.push(kept ?? openUnderlay(bytes, port, 1))
    if (kept === undefined) {
      // The one at the address before.
      fdStore.remove(DESCRIPTOR)
      fdStore.put(DESCRIPTOR, opened[0]!)
    }
    opened.push(...openSenders({ address }))
  } catch (error) {
    fdStore.remove(DESCRIPTOR)
    for (const fd of opened) closeFd(fd)
    throw (error as NicError).code === 'EADDRINUSE' ? portTaken(address, port) : error
  }
  return { underlayFd: opened[0]!, senderFds: opened.slice(1) }
}

/** Sockets to send to peers from. */
export function openSenders(underlay: Pick<Underlay, 'address'>): number[] {
  const bytes = underlayBytes(underlay)
  const opened: number[] = []
  try {
    while (opened.length < MAX_SENDERS) opened.push(openUnderlay(bytes, 0, 0))
  } catch (error) {
    for (const fd of opened) closeFd(fd)
    throw error
  }
  return opened
}

export function underlayBytes({ address }: Pick<Underlay, 'address'>): Uint8Array {
  return Uint8Array.from(ipaddr.parse(address).toByteArray())
}

/** A kernel VXLAN device that is up owns its port on every address of the namespace; it shows in no list of processes. */
function portTaken(address: string, port: number): PolderError {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const kernel = ['udp', 'udp6'].some((file) =>
    readFileSync(`/proc/net/${file}`, 'utf8')
      .split('\n')
      .some((line) => line.includes(`:${hex} `) && line.trim().split(/\s+/)[9] === '0'),
  )
  const remedy = kernel
    ? 'A kernel VXLAN device holds it: find it with `ip -d link show type vxlan` and delete it, or set vxlanPort.'
    : `Find the process with \`ss -ulpn sport = ${port}\` and stop it, or set vxlanPort to the same free port on every node.`
  return new PolderError('port-taken', `UDP port ${port} of ${address} is taken`, remedy)
}
