/**
 * One batch: receive descriptors in, transmit descriptors out, each packet through its entrance. The only place where
 * the path of `packet/` meets the descriptors of the addon. Nothing here allocates.
 */
import { flowHash, Packet } from '../../packet/packet.ts'
import {
  DROP_BAD_OFFLOAD,
  DROP_DEVICE_REFUSED,
  DROP_PEER_UNREACHABLE,
  DROP_REASONS,
  DROP_SOCKET_FULL,
  DROP_UNDERLAY_TOO_BIG,
} from '../../packet/path/drop-reason.ts'
import { fromHost } from '../../packet/path/from-host.ts'
import { fromPeer } from '../../packet/path/from-peer.ts'
import { fromPod } from '../../packet/path/from-pod.ts'
import { DROP, indexOf, kindOf, TO_PEER, TO_POD, type Verdict } from '../../packet/path/verdict.ts'
import type { Tables } from '../../packet/tables/tables.ts'
import * as d from '../nic/descriptors.ts'
import { COUNT_BYTES, COUNT_DROPS, COUNT_PACKETS, FROM_HOST, FROM_PEER, FROM_POD } from './protocol.ts'

const SLOTS = 64
const TX_DESCRIPTORS = 4096

/** Which drop reason stands for which of the addon's failure counters. */
const FAILURE_REASONS: readonly number[] = [
  DROP_SOCKET_FULL,
  DROP_UNDERLAY_TOO_BIG,
  DROP_PEER_UNREACHABLE,
  DROP_DEVICE_REFUSED,
  DROP_BAD_OFFLOAD,
]

export class Batch {
  readonly arena = new Uint8Array(SLOTS * d.SLOT_BYTES)
  readonly rx = new Int32Array(SLOTS * d.RX_WORDS)
  readonly tx = new Int32Array(TX_DESCRIPTORS * d.TX_WORDS)
  readonly failures = new Int32Array(d.FAIL_WORDS)
  readonly #packet = new Packet(this.arena)
  readonly #counters: Float64Array
  readonly #send: (count: number) => void
  #filled = 0

  /** `send` sends the first `count` transmit descriptors and counts what failed in `failures`. */
  constructor(counters: Float64Array, send: (count: number) => void) {
    if (counters.length < COUNT_DROPS + DROP_REASONS.length) throw new Error('too few counters')
    this.#counters = counters
    this.#send = send
  }

  /** Takes `received` descriptors through the path and sends what is to be delivered. */
  run(received: number, tables: Tables): void {
    for (let i = 0; i < received; i++) {
      const at = i * d.RX_WORDS
      const port = this.rx[at + d.RX_PORT]!
      if (port === d.PORT_UNDERLAY) this.#fromUnderlay(at, tables)
      else this.#fromTun(at, port, tables)
    }
    this.#flush()
  }

  #fromTun(at: number, port: number, tables: Tables): void {
    const { rx } = this
    const packet = this.#packet
    const flags = rx[at + d.RX_FLAGS]!
    const checksum = rx[at + d.RX_CSUM]!
    packet.set(rx[at + d.RX_OFFSET]!, rx[at + d.RX_LENGTH]!)
    packet.checksum = flags & 0xff
    packet.gsoType = flags >>> 8
    packet.gsoSizeBytes = rx[at + d.RX_GSO_SIZE]!
    packet.checksumStart = checksum & 0xffff
    packet.checksumOffset = checksum >>> 16
    if (port === d.PORT_HOST) {
      this.#count(FROM_HOST)
      this.#carryOut(fromHost(packet, tables))
    } else {
      this.#count(FROM_POD)
      this.#carryOut(fromPod(packet, port, tables))
    }
  }

  /** A GRO train is many packets of one sender: each is decided alone. */
  #fromUnderlay(at: number, tables: Tables): void {
    const { rx } = this
    const packet = this.#packet
    const a = at + d.RX_SRC_ADDR
    const peer = tables.peers.lookup(rx[a]!, rx[a + 1]!, rx[a + 2]!, rx[a + 3]!)
    const start = rx[at + d.RX_OFFSET]!
    const end = start + rx[at + d.RX_LENGTH]!
    const step = rx[at + d.RX_SEGMENT]! || end - start
    for (let offset = start; offset < end; offset += step) {
      packet.set(offset, Math.min(step, end - offset))
      this.#count(FROM_PEER)
      this.#carryOut(fromPeer(packet, peer, tables))
    }
  }

  #count(entrance: number): void {
    this.#counters[COUNT_PACKETS + entrance]!++
    this.#counters[COUNT_BYTES + entrance]! += this.#packet.length
  }

  #carryOut(verdict: Verdict): void {
    const kind = kindOf(verdict)
    if (kind === DROP) {
      this.#counters[COUNT_DROPS + indexOf(verdict)]!++
      return
    }
    const { tx } = this
    const packet = this.#packet
    const at = this.#filled * d.TX_WORDS
    const toPeer = kind === TO_PEER
    tx[at + d.TX_PORT] = toPeer ? d.PORT_UNDERLAY : kind === TO_POD ? indexOf(verdict) : d.PORT_HOST
    tx[at + d.TX_OFFSET] = packet.at
    tx[at + d.TX_LENGTH] = packet.length
    tx[at + d.TX_FLAGS] = packet.checksum | (packet.gsoType << 8)
    tx[at + d.TX_GSO_SIZE] = packet.gsoSizeBytes
    tx[at + d.TX_CSUM] = packet.checksumStart | (packet.checksumOffset << 16)
    tx[at + d.TX_PEER] = toPeer ? indexOf(verdict) : 0
    tx[at + d.TX_L4] = packet.l4 === 0 || packet.isFragment ? 0 : (packet.l4 - packet.at) | (packet.protocol << 16)
    tx[at + d.TX_HASH] = toPeer ? flowHash(packet) : 0
    if (++this.#filled === TX_DESCRIPTORS) this.#flush()
  }

  #flush(): void {
    if (this.#filled === 0) return
    this.#send(this.#filled)
    this.#filled = 0
    for (let i = 0; i < d.FAIL_WORDS; i++) {
      const failed = this.failures[i]!
      if (failed === 0) continue
      this.#counters[COUNT_DROPS + FAILURE_REASONS[i]!]! += failed
      this.failures[i] = 0
    }
  }
}
