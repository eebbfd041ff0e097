/**
 * Routes in rtnetlink: RTM_NEWROUTE, RTM_GETROUTE, RTM_DELROUTE, both families. Every table is read; written are
 * unicast routes with one next hop, to the main table, under polder's own protocol number, so that others (and polder
 * after a restart) can tell whose they are.
 *
 *   rtmsg      family u8 | dst length u8 | src length u8 | tos u8 | table u8 | protocol u8 | scope u8 | type u8 | flags u32
 *   rtnexthop  length u16 | flags u8 | hops u8 | index i32 | attributes      (one after the other in RTA_MULTIPATH)
 *
 * linux/rtnetlink.h, rtnetlink(7)
 */
import { AF_INET, AF_INET6, formatIp, type Ip, type Prefix, parseIp, parsePrefix } from './ip-text.ts'
import {
  type Attributes,
  attribute,
  concat,
  decodeAttributes,
  decodeBody,
  decodeU32,
  nest,
  u32,
  viewOf,
} from './message.ts'
import { EINVAL, malformed, NetlinkError } from './netlink-error.ts'
import { SCOPE_NUMBERS, type Scope, scopeOf } from './scope.ts'

export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
export const RTM_GETROUTE = 26

/** Numbers from 5 up are free for routing daemons; this one stands in no rt_protos that we know of. */
export const RTPROT_POLDER = 114
export const RT_TABLE_MAIN = 254

const HEADER_LEN = 12
const NEXT_HOP_HEADER_LEN = 8

const RTM_F_CLONED = 0x200

const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_PREFSRC = 7
const RTA_METRICS = 8
const RTA_MULTIPATH = 9
const RTA_TABLE = 15
const RTA_VIA = 18
const RTAX_MTU = 2

const ROUTE_TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
] as const
export type RouteType = (typeof ROUTE_TYPES)[number]
const RTN_UNICAST = 1

export interface NextHop {
  index: number
  via?: string
}

export interface Route {
  family: 4 | 6
  /** CIDR; the default route is `0.0.0.0/0` or `::/0`. */
  dst: string
  type: RouteType
  /** Absent for blackholes and their like, and where there are several next hops. */
  index?: number
  via?: string
  nextHops?: NextHop[]
  src?: string
  scope: Scope
  table: number
  protocol: number
  metric: number
  mtuBytes?: number
}

export interface RouteSpec {
  /** CIDR, or `default` where `via` or `src` tells the family. */
  dst: string
  index: number
  via?: string
  src?: string
  /** Default: `link` for IPv4 without `via`, else `universe`. */
  scope?: 'link' | 'universe'
  mtuBytes?: number
  metric?: number
  /** Default: RTPROT_POLDER. */
  protocol?: number
}

export interface RouteAnswer {
  index: number
  src?: string
  via?: string
}

export function encodeRouteQuery(): Uint8Array {
  return header({ family: 0, bytes: new Uint8Array(), length: 0 })
}

/** Asks which way a packet to this address would go. */
export function encodeRouteLookup(address: string): Uint8Array {
  const ip = parseIp(address)
  return concat([header({ ...ip, length: ip.bytes.length * 8 }), attribute(RTA_DST, ip.bytes)])
}

export function encodeRoute(route: RouteSpec): Uint8Array {
  const dst = destination(route)
  const scope = route.scope ?? (dst.family === AF_INET && route.via === undefined ? 'link' : 'universe')
  const protocol = route.protocol ?? RTPROT_POLDER
  const parts = [header(dst, { protocol, scope: SCOPE_NUMBERS[scope], type: RTN_UNICAST }), ...target(dst, route)]
  if (route.src !== undefined) parts.push(attribute(RTA_PREFSRC, parseIp(route.src).bytes))
  if (route.mtuBytes !== undefined) parts.push(nest(RTA_METRICS, u32(RTAX_MTU, route.mtuBytes)))
  return concat(parts)
}

/** Names the route to delete: what is left out matches any, but for the protocol, which is polder's own by default. */
export function encodeRouteDeletion(route: RouteTarget): Uint8Array {
  const dst = destination(route)
  const protocol = route.protocol ?? RTPROT_POLDER
  return concat([header(dst, { protocol, scope: SCOPE_NUMBERS.nowhere, type: 0 }), ...target(dst, route)])
}

export type RouteTarget = Pick<RouteSpec, 'dst' | 'via' | 'metric' | 'protocol'> & { index?: number }

function target(dst: Prefix, route: RouteTarget): Uint8Array[] {
  const parts: Uint8Array[] = []
  if (dst.length > 0) parts.push(attribute(RTA_DST, dst.bytes))
  if (route.index !== undefined) parts.push(u32(RTA_OIF, route.index))
  if (route.via !== undefined) parts.push(gateway(dst, parseIp(route.via)))
  if (route.metric !== undefined) parts.push(u32(RTA_PRIORITY, route.metric))
  return parts
}

/** RTA_VIA is for a gateway of the other family: IPv4 over an IPv6 next hop (RFC 5549). */
function gateway(dst: Prefix, via: Ip): Uint8Array {
  if (via.family === dst.family) return attribute(RTA_GATEWAY, via.bytes)
  const family = new Uint8Array(2)
  viewOf(family).setUint16(0, via.family, true)
  return attribute(RTA_VIA, concat([family, via.bytes]))
}

function destination(route: Pick<RouteSpec, 'dst' | 'via' | 'src'>): Prefix {
  if (route.dst !== 'default') return parsePrefix(route.dst)
  const witness = route.via ?? route.src
  if (witness === undefined)
    throw new NetlinkError('read a route', EINVAL, "'default' without via or src: write 0.0.0.0/0 or ::/0")
  return { ...parseIp(witness), length: 0 }
}

/** Undefined for what is not IP, and for entries the kernel cached by itself (learnt path MTUs). */
export function decodeRoute(body: Uint8Array): Route | undefined {
  const { header, attributes } = decodeBody(body, HEADER_LEN)
  const family = header.getUint8(0)
  if (family !== AF_INET && family !== AF_INET6) return undefined
  if ((header.getUint32(8, true) & RTM_F_CLONED) !== 0) return undefined
  const dst = attributes.get(RTA_DST) ?? new Uint8Array(family === AF_INET ? 4 : 16)
  const src = attributes.get(RTA_PREFSRC)
  const metric = attributes.get(RTA_PRIORITY)
  const metrics = attributes.get(RTA_METRICS)
  const mtu = metrics && decodeAttributes(metrics).get(RTAX_MTU)
  const table = attributes.get(RTA_TABLE)
  const multipath = attributes.get(RTA_MULTIPATH)
  const index = attributes.get(RTA_OIF)
  return {
    family: family === AF_INET ? 4 : 6,
    dst: `${formatIp(dst)}/${header.getUint8(1)}`,
    type: ROUTE_TYPES[header.getUint8(7)] ?? 'unspec',
    ...(index && { index: decodeU32(index) }),
    ...decodeGateway(attributes),
    ...(multipath && { nextHops: decodeNextHops(multipath) }),
    ...(src && { src: formatIp(src) }),
    scope: scopeOf(header.getUint8(6)),
    table: table ? decodeU32(table) : header.getUint8(4),
    protocol: header.getUint8(5),
    metric: metric ? decodeU32(metric) : 0,
    ...(mtu && { mtuBytes: decodeU32(mtu) }),
  }
}

export function decodeRouteAnswer(body: Uint8Array): RouteAnswer {
  const { attributes } = decodeBody(body, HEADER_LEN)
  const index = attributes.get(RTA_OIF)
  const src = attributes.get(RTA_PREFSRC)
  if (!index) throw malformed('the answer to a route lookup names no interface')
  return { index: decodeU32(index), ...(src && { src: formatIp(src) }), ...decodeGateway(attributes) }
}

function decodeGateway(attributes: Attributes): { via?: string } {
  const gateway = attributes.get(RTA_GATEWAY) ?? attributes.get(RTA_VIA)?.subarray(2)
  return gateway ? { via: formatIp(gateway) } : {}
}

function decodeNextHops(bytes: Uint8Array): NextHop[] {
  const hops: NextHop[] = []
  const view = viewOf(bytes)
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at
    const length = left < NEXT_HOP_HEADER_LEN ? 0 : view.getUint16(at, true)
    if (length < NEXT_HOP_HEADER_LEN || length > left) throw malformed(`next hop length ${length}, ${left} bytes left`)
    const attributes = decodeAttributes(bytes.subarray(at + NEXT_HOP_HEADER_LEN, at + length))
    hops.push({ index: view.getInt32(at + 4, true), ...decodeGateway(attributes) })
    at += (length + 3) & ~3
  }
  return hops
}

interface HeaderFields {
  protocol: number
  scope: number
  type: number
}

function header(dst: Prefix | { family: 0; bytes: Uint8Array; length: 0 }, fields?: HeaderFields): Uint8Array {
  const { protocol, scope, type } = fields ?? { protocol: 0, scope: 0, type: 0 }
  return Uint8Array.of(dst.family, dst.length, 0, 0, fields ? RT_TABLE_MAIN : 0, protocol, scope, type, 0, 0, 0, 0)
}
