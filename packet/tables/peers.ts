/**
 * The other nodes: where they are on the underlay, what fits through to them, and the header that goes before every
 * packet to them. Peers are numbered; routes name them by number.
 *
 * Layout in 32-bit words, PEER_WORDS a peer: underlay address (4), UDP port, MTU, encapsulation (5 words: VXLAN header,
 * destination and source MAC; the ethertype follows by family).
 */
import { formatAddress, parseAddress } from '../address.ts'
import { AddressMap } from './address-map.ts'

export interface PeerEntry {
  readonly underlayAddress: string
  readonly port: number
  /** Largest IP packet to this peer, in bytes: the smaller of both ends. */
  readonly mtuBytes: number
  /** `02:50:…` */
  readonly vtepMac: string
}

export interface Vtep {
  readonly vni: number
  readonly mac: string
}

export interface PeerBuffers {
  readonly peers: SharedArrayBuffer
  readonly byAddress: SharedArrayBuffer
}

export const PEER_WORDS = 11
const PORT = 4
const MTU = 5
const ENCAPSULATION = 6

/** VXLAN flags with the I bit: a VNI is present (RFC 7348, 5). */
const VXLAN_FLAGS = 0x08000000

function macBytes(mac: string): number[] {
  const bytes = mac.split(':').map((part) => Number.parseInt(part, 16))
  if (bytes.length !== 6 || bytes.some((byte) => !(byte >= 0 && byte <= 255)))
    throw new Error(`${mac} is no MAC address`)
  return bytes
}

export class PeerTable {
  readonly #words: Int32Array
  readonly #byAddress: AddressMap

  constructor(buffers: PeerBuffers) {
    this.#words = new Int32Array(buffers.peers)
    this.#byAddress = new AddressMap(buffers.byAddress)
  }

  static build(peers: readonly PeerEntry[], own: Vtep): PeerBuffers {
    const buffer = new SharedArrayBuffer(peers.length * PEER_WORDS * 4)
    const words = new Int32Array(buffer)
    const byAddress = peers.map((peer, index) => ({ words: parseAddress(peer.underlayAddress), value: index }))
    for (const [index, peer] of peers.entries()) {
      const at = index * PEER_WORDS
      words.set(byAddress[index]!.words, at)
      words[at + PORT] = peer.port
      words[at + MTU] = peer.mtuBytes
      const header = new DataView(new ArrayBuffer(20))
      header.setUint32(0, VXLAN_FLAGS)
      header.setUint32(4, own.vni << 8)
      for (const [i, byte] of [...macBytes(peer.vtepMac), ...macBytes(own.mac)].entries()) header.setUint8(8 + i, byte)
      for (let i = 0; i < 5; i++) words[at + ENCAPSULATION + i] = header.getInt32(i * 4)
    }
    return { peers: buffer, byAddress: AddressMap.of(byAddress).buffer }
  }

  get size(): number {
    return this.#words.length / PEER_WORDS
  }

  /** The peer that has this underlay address, or -1. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    return this.#byAddress.lookup(w0, w1, w2, w3)
  }

  mtuBytes(peer: number): number {
    return this.#words[peer * PEER_WORDS + MTU]!
  }

  /** Word `i` (0..4) of the 20 bytes before the ethertype. */
  encapsulationWord(peer: number, i: number): number {
    return this.#words[peer * PEER_WORDS + ENCAPSULATION + i]!
  }

  /** Address and port as the addon takes them: five words a peer. */
  endpoints(): Int32Array {
    const words = this.#words
    return Int32Array.from({ length: this.size * 5 }, (_, i) => words[Math.floor(i / 5) * PEER_WORDS + (i % 5)]!)
  }

  /** For people. */
  address(peer: number): string {
    const at = peer * PEER_WORDS
    const words = this.#words
    return formatAddress([words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!])
  }
}
