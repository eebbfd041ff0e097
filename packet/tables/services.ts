/**
 * Services: stable addresses before changing endpoints. A frontend (address, port, protocol) leads to a service port; a
 * service port has two lists of endpoints, for those who come from inside the cluster and from outside. Built by main,
 * read by the path; every lookup is a hash, every choice an index, whatever the number of services and endpoints.
 *
 * Layout in 32-bit words, each table a buffer of its own:
 *   frontends  a hash map, open addressing, at most half full: w0 w1 w2 w3 port<<16|protocol value used; value is the
 *              service port × 2, + 1 for those from outside
 *   services   SERVICE_WORDS each: where its lists begin and how long they are, affinity, source ranges
 *   lists      endpoint numbers
 *   endpoints  ENDPOINT_WORDS each: address, port, identity: 24 bytes, and 4 for each list it is in
 *   ranges     address and length of each source range
 */
import { type AddressWords, maskWords, parseAddress, parsePrefix } from '../address.ts'
import { AddressMap } from './address-map.ts'

export interface Frontend {
  readonly address: string
  readonly port: number
  readonly from: 'inside' | 'outside'
  /** Others listen at this address too: what comes to another port there is for them. */
  readonly sharesAddress?: boolean
}

export interface Endpoint {
  readonly address: string
  readonly port: number
  /** The same for as long as it is the same pod behind the same service port; 31 bits, not 0. */
  readonly identity: number
}

export interface ServicePort {
  /** The same for as long as it is the same port of the same service; 31 bits. */
  readonly identity: number
  readonly protocol: number
  readonly frontends: readonly Frontend[]
  /** All that flows may go on with: the usable ones, and those that are terminating. */
  readonly endpoints: readonly Endpoint[]
  /** How many new flows could go to, whoever asks and wherever they are. */
  readonly usable: number
  /** Those that new flows may go to, by number in `endpoints`. */
  readonly inside: readonly number[]
  readonly outside: readonly number[]
  /** Session affinity by client address (ClientIP), 0 for none. */
  readonly affinitySeconds: number
  /** Who may come from outside; empty: everybody. */
  readonly sourceRanges: readonly string[]
}

export interface ServiceBuffers {
  readonly frontends: SharedArrayBuffer
  readonly addresses: SharedArrayBuffer
  readonly services: SharedArrayBuffer
  readonly lists: SharedArrayBuffer
  readonly endpoints: SharedArrayBuffer
  readonly identities: SharedArrayBuffer
  readonly ranges: SharedArrayBuffer
}

const FRONTEND_WORDS = 7
const SERVICE_WORDS = 9
const INSIDE = 0
const OUTSIDE = 2
const USABLE = 4
const AFFINITY = 5
const RANGES = 6
const SERVICE_IDENTITY = 8
const ENDPOINT_WORDS = 6
const PORT = 4
const IDENTITY = 5
const RANGE_WORDS = 8

function hash(w0: number, w1: number, w2: number, w3: number, what: number): number {
  let h = Math.imul(w3 ^ what, 0x85ebca6b)
  h = Math.imul(h ^ w1 ^ (h >>> 13), 0xc2b2ae35)
  h = Math.imul(h ^ w2 ^ (h >>> 15), 0x9e3779b1)
  h = Math.imul(h ^ w0 ^ (h >>> 14), 0x27d4eb2f)
  return h ^ (h >>> 16)
}

const shared = (words: readonly number[]): SharedArrayBuffer => {
  const buffer = new SharedArrayBuffer(words.length * 4)
  new Int32Array(buffer).set(words)
  return buffer
}

export class ServiceTable {
  readonly #frontends: Int32Array
  readonly #mask: number
  readonly #addresses: AddressMap
  readonly #services: Int32Array
  readonly #lists: Int32Array
  readonly #endpoints: Int32Array
  readonly #identities: AddressMap
  readonly #ranges: Int32Array

  constructor(buffers: ServiceBuffers) {
    this.#frontends = new Int32Array(buffers.frontends)
    this.#mask = this.#frontends.length / FRONTEND_WORDS - 1
    this.#addresses = new AddressMap(buffers.addresses)
    this.#services = new Int32Array(buffers.services)
    this.#lists = new Int32Array(buffers.lists)
    this.#endpoints = new Int32Array(buffers.endpoints)
    this.#identities = new AddressMap(buffers.identities)
    this.#ranges = new Int32Array(buffers.ranges)
  }

  static build(ports: readonly ServicePort[]): ServiceBuffers {
    const services: number[] = []
    const lists: number[] = []
    const endpoints: number[] = []
    const ranges: number[] = []
    for (const { inside, outside, affinitySeconds, sourceRanges, identity, ...port } of ports) {
      const all = endpoints.length / ENDPOINT_WORDS
      for (const { address, port: number, identity } of port.endpoints) {
        endpoints.push(...parseAddress(address), number, identity)
      }
      const begin = lists.length
      for (const index of [...inside, ...outside]) lists.push(all + index)
      services.push(begin, inside.length, begin + inside.length, outside.length, port.usable)
      services.push(affinitySeconds, ranges.length / RANGE_WORDS, sourceRanges.length, identity)
      for (const range of sourceRanges) {
        const { words, length } = parsePrefix(range)
        ranges.push(...words, ...maskWords(length))
      }
    }
    const addresses = ports.flatMap(({ frontends }) =>
      frontends.flatMap(({ address, sharesAddress }) => (sharesAddress ? [] : address)),
    )
    const identities = ports.flatMap((port) => port.endpoints.map(({ identity }) => identity))
    return {
      frontends: buildFrontends(ports),
      addresses: AddressMap.of(addresses.map((address) => ({ words: parseAddress(address), value: 1 }))).buffer,
      services: shared(services),
      lists: shared(lists),
      endpoints: shared(endpoints),
      identities: AddressMap.of(identities.map((identity) => ({ words: [identity, 0, 0, 0], value: 1 }))).buffer,
      ranges: shared(ranges),
    }
  }

  /** The frontend of this address, port and protocol, for the functions below; or -1. */
  find(w0: number, w1: number, w2: number, w3: number, port: number, protocol: number): number {
    const words = this.#frontends
    const what = (port << 16) | protocol
    for (let slot = hash(w0, w1, w2, w3, what) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * FRONTEND_WORDS
      if (words[at + 6] === 0) return -1
      if (words[at + 3] !== w3 || words[at + 4] !== what) continue
      if (words[at + 2] === w2 && words[at + 1] === w1 && words[at] === w0) return words[at + 5]!
    }
  }

  /** Whether some service has this address to itself. */
  hasAddress(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#addresses.lookup(w0, w1, w2, w3) !== -1
  }

  /** How many endpoints new flows through this frontend may go to. */
  count(frontend: number): number {
    return this.#services[(frontend >> 1) * SERVICE_WORDS + (frontend & 1 ? OUTSIDE : INSIDE) + 1]!
  }

  /** How many there are at all that could serve, on other nodes say, where this frontend does not lead. */
  usable(frontend: number): number {
    return this.#services[(frontend >> 1) * SERVICE_WORDS + USABLE]!
  }

  /** The endpoint that is number `index`, below count(). */
  endpoint(frontend: number, index: number): number {
    const list = (frontend >> 1) * SERVICE_WORDS + (frontend & 1 ? OUTSIDE : INSIDE)
    return this.#lists[this.#services[list]! + index]!
  }

  /** The endpoint with this identity among those new flows may go to, or -1. */
  endpointOf(frontend: number, identity: number): number {
    const list = (frontend >> 1) * SERVICE_WORDS + (frontend & 1 ? OUTSIDE : INSIDE)
    const begin = this.#services[list]!
    for (let i = 0; i < this.#services[list + 1]!; i++) {
      const endpoint = this.#lists[begin + i]!
      if (this.identity(endpoint) === identity) return endpoint
    }
    return -1
  }

  /** Word `i` (0..3) of an endpoint's address. */
  addressWord(endpoint: number, i: number): number {
    return this.#endpoints[endpoint * ENDPOINT_WORDS + i]!
  }

  port(endpoint: number): number {
    return this.#endpoints[endpoint * ENDPOINT_WORDS + PORT]!
  }

  identity(endpoint: number): number {
    return this.#endpoints[endpoint * ENDPOINT_WORDS + IDENTITY]!
  }

  /** Whether a flow may go on with this endpoint. */
  isThere(identity: number): boolean {
    return this.#identities.lookup(identity, 0, 0, 0) !== -1
  }

  /** Of the service port behind a frontend. */
  serviceIdentity(frontend: number): number {
    return this.#services[(frontend >> 1) * SERVICE_WORDS + SERVICE_IDENTITY]!
  }

  affinitySeconds(frontend: number): number {
    return this.#services[(frontend >> 1) * SERVICE_WORDS + AFFINITY]!
  }

  /** Whether one with this address may come through this frontend. */
  admits(frontend: number, w0: number, w1: number, w2: number, w3: number): boolean {
    const at = (frontend >> 1) * SERVICE_WORDS + RANGES
    const count = this.#services[at + 1]!
    if (count === 0 || (frontend & 1) === 0) return true
    const ranges = this.#ranges
    const begin = this.#services[at]! * RANGE_WORDS
    for (let r = begin; r < begin + count * RANGE_WORDS; r += RANGE_WORDS) {
      const same =
        (w0 & ranges[r + 4]!) === ranges[r] &&
        (w1 & ranges[r + 5]!) === ranges[r + 1] &&
        (w2 & ranges[r + 6]!) === ranges[r + 2] &&
        (w3 & ranges[r + 7]!) === ranges[r + 3]
      if (same) return true
    }
    return false
  }
}

/** A later frontend never takes the place of an earlier one. */
function buildFrontends(ports: readonly ServicePort[]): SharedArrayBuffer {
  const entries = ports.flatMap(({ frontends, protocol }, service) =>
    frontends.map(({ address, port, from }) => ({
      words: parseAddress(address),
      what: (port << 16) | protocol,
      value: service * 2 + (from === 'outside' ? 1 : 0),
    })),
  )
  let capacity = 8
  while (capacity < entries.length * 2) capacity *= 2
  const buffer = new SharedArrayBuffer(capacity * FRONTEND_WORDS * 4)
  const words = new Int32Array(buffer)
  for (const { words: key, what, value } of entries) {
    for (let slot = hash(...key, what) & (capacity - 1); ; slot = (slot + 1) & (capacity - 1)) {
      const at = slot * FRONTEND_WORDS
      if (words[at + 6] === 0) {
        words.set([...key, what, value, 1], at)
        break
      }
      if (isKey(words, at, key, what)) break
    }
  }
  return buffer
}

function isKey(words: Int32Array, at: number, key: AddressWords, what: number): boolean {
  return words[at + 4] === what && key.every((word, i) => words[at + i] === word)
}
