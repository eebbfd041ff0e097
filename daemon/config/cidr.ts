/**
 * Networks in CIDR notation (RFC 4632, RFC 4291), both families, as numbers that can be compared and counted. For
 * configuration and cluster state only: parsing costs microseconds and BigInts, the data path has words instead.
 */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

export interface Cidr {
  family: 4 | 6
  /** The network address as a number. */
  first: bigint
  prefixLength: number
}

export const ADDRESS_BITS = { 4: 32, 6: 128 } as const

/** What is wrong with `text` as a network, as the end of a sentence; undefined where nothing is. */
export function cidrMistake(text: string): string | undefined {
  const [address = '', prefix = '', ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || address.includes('%') || !/^(0|[1-9]\d{0,2})$/.test(prefix) || rest.length > 0) {
    return 'must be a network such as 10.244.0.0/16 or fd00:10:244::/48'
  }
  const bits = ADDRESS_BITS[family as 4 | 6]
  if (Number(prefix) > bits) return `must have a prefix length of at most ${bits}`
  const network = formatCidr(parseCidr(text))
  const [networkAddress] = network.split('/')
  if (ipaddr.parse(address).toString() !== networkAddress) return `must have no host bits: the network is ${network}`
  return undefined
}

/** Expects what cidrMistake() found no fault with; host bits, where there are any, are cleared. */
export function parseCidr(text: string): Cidr {
  const [address, prefix] = text.split('/') as [string, string]
  const bytes = ipaddr.parse(address).toByteArray()
  const family = bytes.length === 4 ? 4 : 6
  const prefixLength = Number(prefix)
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return { family, first: value & ~hostMask(family, prefixLength), prefixLength }
}

export function formatCidr(cidr: Cidr): string {
  const bytes: number[] = []
  for (let shift = ADDRESS_BITS[cidr.family] - 8; shift >= 0; shift -= 8) {
    bytes.push(Number((cidr.first >> BigInt(shift)) & 0xffn))
  }
  return `${ipaddr.fromByteArray(bytes).toString()}/${cidr.prefixLength}`
}

export function contains(outer: Cidr, inner: Cidr): boolean {
  if (outer.family !== inner.family || outer.prefixLength > inner.prefixLength) return false
  return (inner.first & ~hostMask(outer.family, outer.prefixLength)) === outer.first
}

export function overlap(one: Cidr, other: Cidr): boolean {
  return contains(one, other) || contains(other, one)
}

/** The `index`th network of `prefixLength` bits inside `outer`, counted from 0. */
export function subnet(outer: Cidr, prefixLength: number, index: number): Cidr {
  const shift = BigInt(ADDRESS_BITS[outer.family] - prefixLength)
  return { family: outer.family, first: outer.first | (BigInt(index) << shift), prefixLength }
}

function hostMask(family: 4 | 6, prefixLength: number): bigint {
  return (1n << BigInt(ADDRESS_BITS[family] - prefixLength)) - 1n
}
