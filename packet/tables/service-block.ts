/**
 * Everything of one service port in one run of words, which means the same wherever it stands: main writes it once and
 * never changes it; a change of the service port is another block (service-builder.ts).
 *
 *   header      HEADER_WORDS
 *   endpoints   identity, port, address: V4_WORDS each where all are IPv4, else V6_WORDS
 *   index       a hash from identity to number + 1 of the endpoint, at most two thirds full
 *   ranges      RANGE_WORDS each: address and mask of a source range
 *
 * Endpoints stand in the order: for those from inside alone, for both, for those from outside alone, for no new flow. So
 * the endpoints of either side are neighbours, and a choice among them is a number.
 */
import { isMappedIpv4, maskWords, parseAddress, parsePrefix } from '../address.ts'
import type { Endpoint, ServicePort } from './service-port.ts'

// The header.
export const LENGTH = 0
export const SERVICE_IDENTITY = 1
export const AFFINITY_SECONDS = 2
export const USABLE = 3
/** How many endpoints those from inside may go to: the first ones. */
export const INSIDE = 4
/** Where those for who comes from outside begin, and how many there are. */
export const OUTSIDE_FIRST = 5
export const OUTSIDE = 6
/** Words of an endpoint. */
export const STRIDE = 7
/** Where the index begins, and its size less one. */
export const INDEX = 8
export const INDEX_MASK = 9
export const RANGES = 10
export const RANGE_COUNT = 11
export const HEADER_WORDS = 12

// An endpoint.
export const IDENTITY = 0
export const PORT = 1
export const ADDRESS = 2
export const V4_WORDS = 3
export const V6_WORDS = 6

export const RANGE_WORDS = 8

/** The block of a service port. */
export function blockOf(port: ServicePort): Int32Array {
  const { endpoints, inside, outside } = inOrder(port)
  const addresses = endpoints.map(({ address }) => parseAddress(address))
  const stride = addresses.every(isMappedIpv4) ? V4_WORDS : V6_WORDS
  const index = HEADER_WORDS + endpoints.length * stride
  const indexSize = powerOfTwo(endpoints.length * 1.5)
  const ranges = index + indexSize
  const words = new Int32Array(ranges + port.sourceRanges.length * RANGE_WORDS)
  words[LENGTH] = words.length
  words[SERVICE_IDENTITY] = port.identity
  words[AFFINITY_SECONDS] = port.affinitySeconds
  words[USABLE] = port.usable
  words[INSIDE] = inside
  words[OUTSIDE_FIRST] = outside.first
  words[OUTSIDE] = outside.count
  words[STRIDE] = stride
  words[INDEX] = index
  words[INDEX_MASK] = indexSize - 1
  words[RANGES] = ranges
  words[RANGE_COUNT] = port.sourceRanges.length
  for (const [i, { identity, port: number }] of endpoints.entries()) {
    const at = HEADER_WORDS + i * stride
    words[at + IDENTITY] = identity
    words[at + PORT] = number
    if (stride === V4_WORDS) words[at + ADDRESS] = addresses[i]![3]
    else words.set(addresses[i]!, at + ADDRESS)
    let slot = identity & (indexSize - 1)
    while (words[index + slot] !== 0) slot = (slot + 1) & (indexSize - 1)
    words[index + slot] = i + 1
  }
  for (const [i, range] of port.sourceRanges.entries()) {
    const { words: address, length } = parsePrefix(range)
    words.set([...address, ...maskWords(length)], ranges + i * RANGE_WORDS)
  }
  return words
}

function inOrder(port: ServicePort): {
  endpoints: Endpoint[]
  inside: number
  outside: { first: number; count: number }
} {
  const inside = new Set(port.inside)
  const outside = new Set(port.outside)
  const groups: Endpoint[][] = [[], [], [], []]
  for (const [i, endpoint] of port.endpoints.entries()) {
    const group = inside.has(i) ? (outside.has(i) ? 1 : 0) : outside.has(i) ? 2 : 3
    groups[group]!.push(endpoint)
  }
  const first = groups[0]!.length
  return {
    endpoints: groups.flat(),
    inside: first + groups[1]!.length,
    outside: { first, count: groups[1]!.length + groups[2]!.length },
  }
}

/** More than `least`. */
function powerOfTwo(least: number): number {
  let power = 1
  while (power <= least) power *= 2
  return power
}
