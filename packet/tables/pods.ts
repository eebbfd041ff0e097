/**
 * The pods of this node: address -> port of the data plane. A pod has one port and as many addresses as it likes.
 */
import { parseAddress } from '../address.ts'
import { AddressMap } from './address-map.ts'

export interface PodEntry {
  readonly port: number
  readonly addresses: readonly string[]
}

export class PodTable {
  declare private readonly map: AddressMap

  constructor(buffer: SharedArrayBuffer) {
    this.map = new AddressMap(buffer)
  }

  static build(pods: readonly PodEntry[]): SharedArrayBuffer {
    const entries = pods.flatMap(({ port, addresses }) =>
      addresses.map((address) => ({ words: parseAddress(address), value: port })),
    )
    return AddressMap.of(entries).buffer
  }

  /** The port that has this address, or -1. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    return this.map.lookup(w0, w1, w2, w3)
  }
}
