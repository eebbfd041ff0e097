/**
 * Network interfaces in rtnetlink: RTM_NEWLINK, RTM_GETLINK, RTM_DELLINK. Of the kinds of device only veth and bridge
 * can be made here (for labs); TUN devices come from /dev/net/tun (daemon/nic).
 *
 *   ifinfomsg  family u8 | pad u8 | type u16 | index i32 | flags u32 | changed flags u32
 *
 * linux/if_link.h, rtnetlink(7)
 */
import { AF_INET6 } from './ip-text.ts'
import {
  type Attributes,
  attribute,
  concat,
  decodeAttributes,
  decodeBody,
  decodeText,
  decodeU32,
  nest,
  text,
  u8,
  u32,
  viewOf,
} from './message.ts'
import { malformed } from './netlink-error.ts'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18

const HEADER_LEN = 16
const IFNAMSIZ = 16

export const IFF_UP = 0x1
export const IFF_LOOPBACK = 0x8
export const IFF_LOWER_UP = 0x10000

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_MASTER = 10
const IFLA_TXQLEN = 13
const IFLA_LINKINFO = 18
const IFLA_STATS64 = 23
const IFLA_AF_SPEC = 26
const IFLA_NET_NS_FD = 28
const IFLA_GSO_MAX_SIZE = 41
const IFLA_ALT_IFNAME = 53
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const VETH_INFO_PEER = 1
const IFLA_VXLAN_ID = 1
const IFLA_VXLAN_PORT = 15
const IFLA_INET6_ADDR_GEN_MODE = 8
const IN6_ADDR_GEN_MODE_NONE = 1

const STATS_RX_PACKETS = 0
const STATS_TX_PACKETS = 8
const STATS_RX_DROPPED = 48
const STATS_TX_DROPPED = 56

export interface LinkStatistics {
  rxPackets: number
  txPackets: number
  rxDropped: number
  txDropped: number
}

export interface Link {
  index: number
  name: string
  /** `tun`, `veth`, `bridge`, ...; hardware and the loopback have none. */
  kind?: string
  mtuBytes: number
  /** Absent where the device has none, as a TUN. */
  mac?: string
  /** Somebody wants it up; `lowerUp`: and it has a carrier. */
  up: boolean
  lowerUp: boolean
  loopback: boolean
  /** IFF_* */
  flags: number
  txQueueLength: number
  gsoMaxSizeBytes: number
  /** The bridge it is a port of. */
  masterIndex?: number
  /** What a kernel VXLAN device listens for. */
  vxlan?: { vni: number; port: number }
  statistics: LinkStatistics
}

export interface LinkSettings {
  name?: string
  mtuBytes?: number
  txQueueLength?: number
  /** For both families: from Linux 6.3 on the kernel sets its IPv4 limit along with it, before there was only one. */
  gsoMaxSizeBytes?: number
  /** No link-local address, hence no router solicitations. A kernel without IPv6 answers EAFNOSUPPORT. */
  addrGenModeNone?: true
  /** The bridge to become a port of; 0 leaves it. */
  masterIndex?: number
  up?: boolean
}

/** A name too long for a device's own is sought among the alternative names. */
export function encodeLinkQuery(nameOrIndex?: string | number): Uint8Array {
  if (typeof nameOrIndex !== 'string') return header(nameOrIndex ?? 0)
  return concat([header(0), text(nameOrIndex.length < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME, nameOrIndex)])
}

export function encodeLinkSettings(index: number, settings: Omit<LinkSettings, 'up'>): Uint8Array {
  const parts = [header(index)]
  if (settings.name !== undefined) parts.push(text(IFLA_IFNAME, settings.name))
  if (settings.mtuBytes !== undefined) parts.push(u32(IFLA_MTU, settings.mtuBytes))
  if (settings.txQueueLength !== undefined) parts.push(u32(IFLA_TXQLEN, settings.txQueueLength))
  if (settings.gsoMaxSizeBytes !== undefined) parts.push(u32(IFLA_GSO_MAX_SIZE, settings.gsoMaxSizeBytes))
  if (settings.masterIndex !== undefined) parts.push(u32(IFLA_MASTER, settings.masterIndex))
  if (settings.addrGenModeNone)
    parts.push(nest(IFLA_AF_SPEC, nest(AF_INET6, u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE))))
  return concat(parts)
}

export function encodeLinkState(index: number, up: boolean): Uint8Array {
  return header(index, up ? IFF_UP : 0, IFF_UP)
}

export function encodeBridge(name: string): Uint8Array {
  return concat([header(0), text(IFLA_IFNAME, name), nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, 'bridge'))])
}

/** A veth pair; the peer is born in the namespace behind `peer.netnsFd`, where one is given. */
export function encodeVeth(name: string, peer: { name: string; netnsFd?: number }): Uint8Array {
  const end = [header(0), text(IFLA_IFNAME, peer.name)]
  if (peer.netnsFd !== undefined) end.push(u32(IFLA_NET_NS_FD, peer.netnsFd))
  const data = nest(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, concat(end)))
  return concat([header(0), text(IFLA_IFNAME, name), nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, 'veth'), data)])
}

export function decodeLink(body: Uint8Array): Link {
  const { header, attributes } = decodeBody(body, HEADER_LEN)
  const flags = header.getUint32(8, true)
  const mac = attributes.get(IFLA_ADDRESS)
  const info = attributes.get(IFLA_LINKINFO)
  const about: Attributes = info ? decodeAttributes(info) : new Map()
  const kind = about.get(IFLA_INFO_KIND)
  const data = about.get(IFLA_INFO_DATA)
  const master = attributes.get(IFLA_MASTER)
  return {
    index: header.getInt32(4, true),
    name: decodeText(attributes.get(IFLA_IFNAME) ?? new Uint8Array()),
    ...(kind && { kind: decodeText(kind) }),
    mtuBytes: number(attributes, IFLA_MTU),
    ...(mac?.length === 6 && { mac: formatMac(mac) }),
    up: (flags & IFF_UP) !== 0,
    lowerUp: (flags & IFF_LOWER_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    flags,
    txQueueLength: number(attributes, IFLA_TXQLEN),
    gsoMaxSizeBytes: number(attributes, IFLA_GSO_MAX_SIZE),
    ...(master && { masterIndex: decodeU32(master) }),
    ...(kind && data && decodeText(kind) === 'vxlan' && { vxlan: decodeVxlan(decodeAttributes(data)) }),
    statistics: decodeStatistics(attributes.get(IFLA_STATS64)),
  }
}

/** The port is in network byte order; a device that has none of its own says so with 0. */
function decodeVxlan(attributes: Attributes): { vni: number; port: number } {
  const port = attributes.get(IFLA_VXLAN_PORT)
  return { vni: number(attributes, IFLA_VXLAN_ID), port: port && port.length >= 2 ? viewOf(port).getUint16(0) : 0 }
}

/** Counters are 64 bits wide; 2^53 packets are far away. */
function decodeStatistics(value: Uint8Array | undefined): LinkStatistics {
  if (!value) return { rxPackets: 0, txPackets: 0, rxDropped: 0, txDropped: 0 }
  if (value.length < STATS_TX_DROPPED + 8) throw malformed(`link statistics of ${value.length} bytes`)
  const view = viewOf(value)
  const counter = (at: number) => Number(view.getBigUint64(at, true))
  return {
    rxPackets: counter(STATS_RX_PACKETS),
    txPackets: counter(STATS_TX_PACKETS),
    rxDropped: counter(STATS_RX_DROPPED),
    txDropped: counter(STATS_TX_DROPPED),
  }
}

function number(attributes: Attributes, type: number): number {
  const value = attributes.get(type)
  return value ? decodeU32(value) : 0
}

function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

function header(index: number, flags = 0, change = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_LEN)
  const view = viewOf(bytes)
  view.setInt32(4, index, true)
  view.setUint32(8, flags, true)
  view.setUint32(12, change, true)
  return bytes
}
