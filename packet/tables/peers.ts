/**
 * The other nodes: where they are on the underlay, what fits through to them, and the header that goes before every
 * packet to them. Peers are numbered; routes name them by number.
 *
 * Layout in 32-bit words, PEER_WORDS a peer: underlay address (4), UDP port, MTU as configured and as the path allows,
 * whether it is foreign, encapsulation (5 words: VXLAN header, destination and source MAC; the ethertype follows by
 * family). The path's MTU and the MAC are also written by the data path, as it learns them.
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
  /** A kernel VXLAN device, say: one that may leave offload state in what it sends (offload.ts). */
  readonly foreign: boolean
}

export interface Vtep {
  readonly vni: number
  readonly mac: string
}

export interface PeerBuffers {
  readonly peers: SharedArrayBuffer
  readonly byAddress: SharedArrayBuffer
}

const WORDS = 13
export const PEER_WORDS = WORDS
const PORT = 4
const MTU = 5
const PATH_MTU = 6
const FOREIGN = 7
const ENCAPSULATION = 8

/** VXLAN flags with the I bit: a VNI is present (RFC 7348, 5). */
const VXLAN_FLAGS = 0x08000000

function macBytes(mac: string): number[] {
  const bytes = mac.split(':').map((part) => Number.parseInt(part, 16))
  if (bytes.length !== 6 || bytes.some((byte) => !(byte >= 0 && byte <= 255)))
    throw new Error(`${mac} is no MAC address`)
  return bytes
}

/** A MAC as tables and packets have it: the first 16 bits, and the other 32 as a signed word. */
export function macWords(mac: string): { macHigh: number; macLow: number } {
  const [a, b, c, d, e, f] = macBytes(mac) as [number, number, number, number, number, number]
  return { macHigh: (a << 8) | b, macLow: (c << 24) | (d << 16) | (e << 8) | f }
}

export class PeerTable {
  declare private readonly words: Int32Array
  declare private readonly byAddress: AddressMap

  constructor(buffers: PeerBuffers) {
    this.words = new Int32Array(buffers.peers)
    this.byAddress = new AddressMap(buffers.byAddress)
  }

  static build(peers: readonly PeerEntry[], own: Vtep): PeerBuffers {
    const buffer = new SharedArrayBuffer(peers.length * PEER_WORDS * 4)
    const words = new Int32Array(buffer)
    const byAddress = peers.map((peer, index) => ({ words: parseAddress(peer.underlayAddress), value: index }))
    for (const [index, peer] of peers.entries()) {
      const at = index * PEER_WORDS
      words.set(byAddress[index]!.words, at)
      words[at + PORT] = peer.port
      words[at + MTU] = words[at + PATH_MTU] = peer.mtuBytes
      words[at + FOREIGN] = peer.foreign ? 1 : 0
      const header = new DataView(new ArrayBuffer(20))
      header.setUint32(0, VXLAN_FLAGS)
      header.setUint32(4, own.vni << 8)
      for (const [i, byte] of [...macBytes(peer.vtepMac), ...macBytes(own.mac)].entries()) header.setUint8(8 + i, byte)
      for (let i = 0; i < 5; i++) words[at + ENCAPSULATION + i] = header.getInt32(i * 4)
    }
    return { peers: buffer, byAddress: AddressMap.of(byAddress).buffer }
  }

  get size(): number {
    return this.words.length / PEER_WORDS
  }

  /** The peer that has this underlay address, or -1. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    return this.byAddress.lookup(w0, w1, w2, w3)
  }

  mtuBytes(peer: number): number {
    return this.words[peer * WORDS + PATH_MTU]!
  }

  isForeign(peer: number): boolean {
    return this.words[peer * WORDS + FOREIGN] === 1
  }

  /** The path to the peer takes only so much; it never takes more than is configured. */
  setPathMtu(peer: number, mtuBytes: number): void {
    const at = peer * PEER_WORDS
    this.words[at + PATH_MTU] = Math.min(mtuBytes, this.words[at + MTU]!)
  }

  /** The MAC that frames to this peer are addressed to: the first 16 bits, and the other 32. */
  setMac(peer: number, high: number, low: number): void {
    const at = peer * PEER_WORDS + ENCAPSULATION
    this.words[at + 2] = (high << 16) | (low >>> 16)
    this.words[at + 3] = (low << 16) | (this.words[at + 3]! & 0xffff)
  }

  /** Writes the 20 bytes before the ethertype to `at`: everything that is the same for all packets to this peer. */
  writeEncapsulation(peer: number, view: DataView, at: number): void {
    const words = this.words
    const from = peer * WORDS + ENCAPSULATION
    view.setInt32(at, words[from]!)
    view.setInt32(at + 4, words[from + 1]!)
    view.setInt32(at + 8, words[from + 2]!)
    view.setInt32(at + 12, words[from + 3]!)
    view.setInt32(at + 16, words[from + 4]!)
  }

  /** Address and port as the addon takes them: five words a peer. */
  endpoints(): Int32Array {
    const words = this.words
    return Int32Array.from({ length: this.size * 5 }, (_, i) => words[Math.floor(i / 5) * PEER_WORDS + (i % 5)]!)
  }

  /** Word `i` (0..3) of the underlay address, which names a peer for longer than its index does. */
  addressWord(peer: number, i: number): number {
    return this.words[peer * PEER_WORDS + i]!
  }

  /** For people. */
  address(peer: number): string {
    const at = peer * PEER_WORDS
    const words = this.words
    return formatAddress([words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!])
  }
}
