/**
 * Arithmetic on a node's pod ranges. An address is its range and a host index: 10.244.1.0/24 and 5 are 10.244.1.5,
 * fd00:10:244:1::/64 and 5 are fd00:10:244:1::5. The first addresses have owners: 0 is the network, 1 the gateway (the
 * node's own, on polder0), 2 the node's NAT address.
 */
import { ADDRESS_BITS, contains, formatCidr, parseCidr } from '../config/cidr.ts'

const GATEWAY_INDEX = 1
const NAT_INDEX = 2
export const FIRST_POD_INDEX = 3

/** A host index fits this many low bits; what a wider range holds beyond is never handed out. */
const INDEX_BITS = 16

/** The bare address at `index` in `range`, in its shortest form. */
export function addressAt(range: string, index: number): string {
  const cidr = parseCidr(range)
  const [address] = formatCidr({ ...cidr, first: cidr.first + BigInt(index) }).split('/')
  return address!
}

/** Where `address` stands in `range`; undefined where it is outside, or beyond what is ever handed out. */
export function indexOf(range: string, address: string): number | undefined {
  const cidr = parseCidr(range)
  const single = parseCidr(`${address}/${ADDRESS_BITS[address.includes(':') ? 6 : 4]}`)
  if (!contains(cidr, single)) return undefined
  const index = Number(single.first - cidr.first)
  return index < 2 ** INDEX_BITS ? index : undefined
}

/** The greatest host index a pod may have; IPv4 keeps its last address for broadcast. */
export function lastPodIndex(range: string): number {
  const { family, prefixLength } = parseCidr(range)
  const hostBits = ADDRESS_BITS[family] - prefixLength
  const count = 2 ** Math.min(hostBits, INDEX_BITS)
  return family === 4 && hostBits <= INDEX_BITS ? count - 2 : count - 1
}

/** The network's own address, which no pod and no host has: node ports are served at it. */
export function networkAddressOf(range: string): string {
  return addressAt(range, 0)
}

/** The gateway of the range's pods: the node's own address on polder0. */
export function gatewayOf(range: string): string {
  return addressAt(range, GATEWAY_INDEX)
}

/** The address the node takes as the source towards peers that are no polder. */
export function natAddressOf(range: string): string {
  return addressAt(range, NAT_INDEX)
}
