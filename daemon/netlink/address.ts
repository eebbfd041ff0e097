/**
 * Addresses of interfaces in rtnetlink: RTM_NEWADDR, RTM_GETADDR, RTM_DELADDR, both families. IPv6 addresses are
 * added without duplicate address detection: nobody else can have them, and they are usable at once.
 *
 *   ifaddrmsg  family u8 | prefix length u8 | flags u8 | scope u8 | index u32
 *
 * linux/if_addr.h, rtnetlink(7)
 */
import { AF_INET, AF_INET6, formatIp, parsePrefix } from './ip-text.ts'
import { attribute, concat, decodeBody, u32, viewOf } from './message.ts'
import { malformed } from './netlink-error.ts'
import { type Scope, scopeOf } from './scope.ts'

export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22

const HEADER_LEN = 8

const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_NODAD = 0x02
const IFA_F_DADFAILED = 0x08
const IFA_F_DEPRECATED = 0x20
const IFA_F_TENTATIVE = 0x40
const IFA_F_PERMANENT = 0x80

export interface Address {
  index: number
  family: 4 | 6
  /** Without its prefix length. */
  address: string
  prefixLength: number
  /** The other end of a point-to-point link; the prefix length is the peer's then. */
  peer?: string
  scope: Scope
  /** Not to be used as a source: no longer preferred, not yet known to be unique, or a duplicate. */
  avoid: boolean
  /** Present where it has a lifetime: a router's advertisement or DHCP gave it. */
  dynamic?: true
}

export function encodeAddressQuery(): Uint8Array {
  return header(0, 0, 0)
}

/** `address` with prefix length: `10.244.1.1/32`. */
export function encodeAddress(index: number, address: string): Uint8Array {
  const { family, bytes, length } = parsePrefix(address)
  const parts = [header(family, length, index), attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)]
  if (family === AF_INET6) parts.push(u32(IFA_FLAGS, IFA_F_NODAD))
  return concat(parts)
}

/** Undefined for what is not IP. */
export function decodeAddress(body: Uint8Array): Address | undefined {
  const { header, attributes } = decodeBody(body, HEADER_LEN)
  const family = header.getUint8(0)
  if (family !== AF_INET && family !== AF_INET6) return undefined
  const far = attributes.get(IFA_ADDRESS)
  const local = attributes.get(IFA_LOCAL) ?? far
  if (!local) throw malformed('an interface address without an address')
  const address = formatIp(local)
  const peer = far ? formatIp(far) : address
  const flags = header.getUint8(2)
  return {
    index: header.getUint32(4, true),
    family: family === AF_INET ? 4 : 6,
    address,
    prefixLength: header.getUint8(1),
    ...(peer !== address && { peer }),
    scope: scopeOf(header.getUint8(3)),
    avoid: (flags & (IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED)) !== 0,
    ...((flags & IFA_F_PERMANENT) === 0 && { dynamic: true }),
  }
}

function header(family: number, prefixLength: number, index: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_LEN)
  const view = viewOf(bytes)
  view.setUint8(0, family)
  view.setUint8(1, prefixLength)
  view.setUint32(4, index, true)
  return bytes
}
