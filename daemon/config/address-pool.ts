/**
 * Pools of addresses, as CIDR or as `FIRST-LAST`, both families. As with cidr.ts, for configuration and cluster state
 * only. Every address of a pool may be handed out, the first and the last of a network too: who writes a pool knows the
 * link that it is on.
 */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { ADDRESS_BITS, cidrMistake, formatCidr, parseCidr } from './cidr.ts'

export interface AddressPool {
  family: 4 | 6
  first: bigint
  last: bigint
}

/** What never is one host's address on a link. */
export const NEVER_ONE_HOST = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/16', 'fe80::/10', 'ff00::/8']

/** What is wrong with `text` as a pool, as the end of a sentence; undefined where nothing is. */
export function poolMistake(text: string): string | undefined {
  const [first = '', last, ...rest] = text.split('-').map((part) => part.trim())
  if (last === undefined || text.includes('/')) {
    const mistake = cidrMistake(text)
    if (mistake?.startsWith('must be a network')) return 'must be a pool such as 192.0.2.16/28 or 192.0.2.16-192.0.2.31'
    if (mistake !== undefined) return mistake
  } else {
    const isPair = isIP(first) !== 0 && isIP(first) === isIP(last) && rest.length === 0 && !text.includes('%')
    if (!isPair) return 'must be a pool such as 192.0.2.16/28 or 192.0.2.16-192.0.2.31'
    if (numberOfAddress(first) > numberOfAddress(last)) return 'must begin with the lower address'
  }
  const pool = poolOf(text)
  const never = NEVER_ONE_HOST.find((one) => poolsOverlap(poolOf(one), pool))
  return never === undefined
    ? undefined
    : 'must hold addresses of hosts only: no loopback, link-local or multicast ones'
}

/** Expects what poolMistake() found no fault with; a CIDR is a pool, too. */
export function poolOf(text: string): AddressPool {
  const [first, last] = text.split('-').map((part) => part.trim())
  if (last !== undefined) {
    return { family: isIP(first!) as 4 | 6, first: numberOfAddress(first!), last: numberOfAddress(last) }
  }
  const cidr = parseCidr(text)
  const size = 1n << BigInt(ADDRESS_BITS[cidr.family] - cidr.prefixLength)
  return { family: cidr.family, first: cidr.first, last: cidr.first + size - 1n }
}

export function poolsOverlap(one: AddressPool, other: AddressPool): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last
}

export function poolHolds(pool: AddressPool, address: string): boolean {
  const number = numberOfAddress(address)
  return isIP(address) === pool.family && pool.first <= number && number <= pool.last
}

/** The addresses of a pool, at most `most` of them. */
export function* addressesOf({ family, first, last }: AddressPool, most: number): Iterable<string> {
  for (let number = first; number <= last && number - first < BigInt(most); number++) {
    yield formatCidr({ family, first: number, prefixLength: ADDRESS_BITS[family] }).split('/')[0]!
  }
}

function numberOfAddress(address: string): bigint {
  return ipaddr
    .parse(address)
    .toByteArray()
    .reduce((number, byte) => (number << 8n) | BigInt(byte), 0n)
}
