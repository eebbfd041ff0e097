/**
 * IP addresses and prefixes as text outside, bytes in netlink messages. IPv4 only in its four decimal parts (ipaddr.js
 * alone would take 10.1 and 012.0.0.1), IPv6 without a zone: the interface is always a number of its own here.
 */
import ipaddr from 'ipaddr.js'
import { EINVAL, malformed, NetlinkError } from './netlink-error.ts'

export const AF_INET = 2
export const AF_INET6 = 10

export interface Ip {
  family: typeof AF_INET | typeof AF_INET6
  bytes: Uint8Array
}

export interface Prefix extends Ip {
  length: number
}

export function parseIp(text: string): Ip {
  if (ipaddr.IPv4.isValidFourPartDecimal(text))
    return { family: AF_INET, bytes: Uint8Array.from(ipaddr.IPv4.parse(text).toByteArray()) }
  if (ipaddr.IPv6.isValid(text) && !text.includes('%'))
    return { family: AF_INET6, bytes: Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray()) }
  throw new NetlinkError('read an IP address', EINVAL, `'${text}' is not an IPv4 or IPv6 address`)
}

/** `10.244.1.0/24`; host bits stay as they are, since an interface's own address has them. */
export function parsePrefix(text: string): Prefix {
  const [address = '', digits = ''] = text.split(/\/(?=\d+$)/)
  const ip = parseIp(address)
  const length = Number(digits)
  if (digits === '' || length > ip.bytes.length * 8)
    throw new NetlinkError('read an IP prefix', EINVAL, `'${text}' is not an address with a prefix length`)
  return { ...ip, length }
}

export function formatIp(bytes: Uint8Array): string {
  if (bytes.length !== 4 && bytes.length !== 16) throw malformed(`an IP address of ${bytes.length} bytes`)
  return ipaddr.fromByteArray([...bytes]).toString()
}
