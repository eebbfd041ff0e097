/**
 * Services: stable addresses before changing endpoints. A frontend (address, port, protocol) leads to a service port; a
 * service port has endpoints, some of them for new flows from inside the cluster, some for those from outside. Built by
 * main (service-builder.ts), read by the path; every lookup is a hash, every choice an index, whatever the number of
 * services and endpoints.
 *
 * A frontend's value is the number of its service port × 2, to which FROM_OUTSIDE is added where somebody from outside
 * has met it. The number leads to where the
 * service port's block begins, and the block holds the rest (service-block.ts). An endpoint is known by where it stands
 * among the blocks × 2, + 1 where its address is of four words.
 */
import type { FlowKey } from '../flow-key.ts'
import { FrontendMap } from './frontend-map.ts'
import * as layout from './service-block.ts'
import { ServiceBuilder } from './service-builder.ts'
import type { ServiceBuffers, ServicePort } from './service-port.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { ADDRESS, AFFINITY_SECONDS, HEADER_WORDS, IDENTITY, INDEX, INDEX_MASK, INSIDE, OUTSIDE, OUTSIDE_FIRST, PORT } =
  layout
const { RANGE_COUNT, RANGE_WORDS, RANGES, SERVICE_IDENTITY, STRIDE, USABLE, V6_WORDS } = layout

/** Set on a frontend that somebody from outside the cluster has met. */
export const FROM_OUTSIDE = 1

export class ServiceTable {
  readonly #frontends: FrontendMap
  readonly #services: Int32Array
  readonly #blocks: Int32Array

  constructor(buffers: ServiceBuffers) {
    this.#frontends = new FrontendMap(buffers.frontends)
    this.#services = new Int32Array(buffers.services)
    this.#blocks = new Int32Array(buffers.blocks)
  }

  /** Of these and no others. A later frontend never takes the place of an earlier one. */
  static build(ports: readonly ServicePort[]): ServiceBuffers {
    const builder = new ServiceBuilder()
    builder.set('all', ports)
    return builder.build()
  }

  /** The frontend of this address, port and protocol, for the functions below; or -1. */
  find(w0: number, w1: number, w2: number, w3: number, port: number, protocol: number): number {
    return this.#frontends.find(w0, w1, w2, w3, (port << 16) | protocol)
  }

  /** Whether some service has this address to itself. */
  hasAddress(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#frontends.find(w0, w1, w2, w3, 0) !== -1
  }

  /** How many endpoints new flows through this frontend may go to. */
  count(frontend: number): number {
    return this.#blocks[this.#begin(frontend) + (frontend & FROM_OUTSIDE ? OUTSIDE : INSIDE)]!
  }

  /** How many there are at all that could serve, on other nodes say, where this frontend does not lead. */
  usable(frontend: number): number {
    return this.#blocks[this.#begin(frontend) + USABLE]!
  }

  /** The endpoint that is number `index`, below count(). */
  endpoint(frontend: number, index: number): number {
    const begin = this.#begin(frontend)
    return this.#endpointAt(begin, frontend & FROM_OUTSIDE ? this.#blocks[begin + OUTSIDE_FIRST]! + index : index)
  }

  /** The endpoint with this identity among those new flows may go to, or -1. */
  endpointOf(frontend: number, identity: number): number {
    const begin = this.#begin(frontend)
    const number = this.#numberOf(begin, identity)
    const first = frontend & FROM_OUTSIDE ? this.#blocks[begin + OUTSIDE_FIRST]! : 0
    return number < first || number >= first + this.count(frontend) ? -1 : this.#endpointAt(begin, number)
  }

  /** Word `i` (0..3) of an endpoint's address. */
  addressWord(endpoint: number, i: number): number {
    if (endpoint & 1) return this.#blocks[(endpoint >> 1) + ADDRESS + i]!
    return i === 3 ? this.#blocks[(endpoint >> 1) + ADDRESS]! : i === 2 ? 0xffff : 0
  }

  port(endpoint: number): number {
    return this.#blocks[(endpoint >> 1) + PORT]!
  }

  identity(endpoint: number): number {
    return this.#blocks[(endpoint >> 1) + IDENTITY]!
  }

  /** Whether a flow may go on with this endpoint; `flow` is its side that knows the frontend. */
  isThere(flow: FlowKey, identity: number): boolean {
    const frontend = this.find(flow.dst0, flow.dst1, flow.dst2, flow.dst3, flow.ports & 0xffff, flow.protocol)
    return frontend !== -1 && this.#numberOf(this.#begin(frontend), identity) !== -1
  }

  /** Of the service port behind a frontend. */
  serviceIdentity(frontend: number): number {
    return this.#blocks[this.#begin(frontend) + SERVICE_IDENTITY]!
  }

  affinitySeconds(frontend: number): number {
    return this.#blocks[this.#begin(frontend) + AFFINITY_SECONDS]!
  }

  /** Whether one with this address may come through this frontend. */
  admits(frontend: number, w0: number, w1: number, w2: number, w3: number): boolean {
    const words = this.#blocks
    const begin = this.#begin(frontend)
    const count = words[begin + RANGE_COUNT]!
    if (count === 0) return true
    const ranges = begin + words[begin + RANGES]!
    for (let r = ranges; r < ranges + count * RANGE_WORDS; r += RANGE_WORDS) {
      const same =
        (w0 & words[r + 4]!) === words[r] &&
        (w1 & words[r + 5]!) === words[r + 1] &&
        (w2 & words[r + 6]!) === words[r + 2] &&
        (w3 & words[r + 7]!) === words[r + 3]
      if (same) return true
    }
    return false
  }

  #begin(frontend: number): number {
    return this.#services[frontend >> 1]!
  }

  #endpointAt(begin: number, number: number): number {
    const stride = this.#blocks[begin + STRIDE]!
    return ((begin + HEADER_WORDS + number * stride) << 1) | (stride === V6_WORDS ? 1 : 0)
  }

  /** The number of the endpoint with this identity in the block, or -1. */
  #numberOf(begin: number, identity: number): number {
    const words = this.#blocks
    const index = begin + words[begin + INDEX]!
    const mask = words[begin + INDEX_MASK]!
    const stride = words[begin + STRIDE]!
    for (let slot = identity & mask; ; slot = (slot + 1) & mask) {
      const number = words[index + slot]! - 1
      if (number === -1 || words[begin + HEADER_WORDS + number * stride + IDENTITY] === identity) return number
    }
  }
}
