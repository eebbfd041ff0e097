/**
 * What the data path finds out about peers while it works: how much the path to one takes (the kernel refuses what is
 * larger), and the MAC of one that asked for ours. It outlives the tables, which know only what is configured; a
 * path's MTU is forgotten after ten minutes, as the kernel does, to find out whether it has grown.
 */
import type { PeerTable } from '../../packet/tables/peers.ts'

const MTU_LIFETIME_MS = 600_000
/** Outer IP, UDP, VXLAN and Ethernet around every packet. */
const ENVELOPE4_BYTES = 50
const ENVELOPE6_BYTES = 70
/** The kernel believes no router that speaks of less (net.ipv4.route.min_pmtu). */
const MIN_OUTER_MTU_BYTES = 552

interface Known {
  mtuBytes?: number
  mtuUntilMs?: number
  mac?: { high: number; low: number }
}

export class PeerMemory {
  /** By underlay address: numbers change with every table. */
  readonly #known = new Map<string, Known>()
  /** The earliest moment at which an MTU is out of date: until then a batch has nothing to look up. */
  #nextExpiryMs = Number.POSITIVE_INFINITY

  /** `outerMtuBytes`: of the underlay, 0 where the kernel does not say. */
  learnMtu(peers: PeerTable, peer: number, outerMtuBytes: number, nowMs: number): void {
    const address = peers.address(peer)
    const envelope = address.includes(':') ? ENVELOPE6_BYTES : ENVELOPE4_BYTES
    const mtuBytes = Math.max(outerMtuBytes, MIN_OUTER_MTU_BYTES) - envelope
    if (outerMtuBytes === 0 || mtuBytes >= peers.mtuBytes(peer)) return
    const mtuUntilMs = nowMs + MTU_LIFETIME_MS
    this.#know(address, { mtuBytes, mtuUntilMs })
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, mtuUntilMs)
    peers.setPathMtu(peer, mtuBytes)
  }

  learnMac(peers: PeerTable, peer: number, high: number, low: number): void {
    this.#know(peers.address(peer), { mac: { high, low } })
    peers.setMac(peer, high, low)
  }

  /** Writes what is known, and still holds, into fresh tables. */
  apply(peers: PeerTable, nowMs: number): void {
    for (let peer = 0; peer < peers.size; peer++) {
      const known = this.#known.get(peers.address(peer))
      if (known?.mtuBytes !== undefined && nowMs < known.mtuUntilMs!) {
        peers.setPathMtu(peer, known.mtuBytes)
        // A peer that was in no table for a while may have been passed over.
        this.#nextExpiryMs = Math.min(this.#nextExpiryMs, known.mtuUntilMs!)
      }
      if (known?.mac !== undefined) peers.setMac(peer, known.mac.high, known.mac.low)
    }
  }

  /** Gives every path whose MTU is out of date the configured one again; cheap enough for every batch. */
  expire(peers: PeerTable, nowMs: number): void {
    if (nowMs < this.#nextExpiryMs) return
    this.#nextExpiryMs = Number.POSITIVE_INFINITY
    for (let peer = 0; peer < peers.size; peer++) {
      const known = this.#known.get(peers.address(peer))
      if (known?.mtuUntilMs === undefined) continue
      if (nowMs < known.mtuUntilMs) {
        this.#nextExpiryMs = Math.min(this.#nextExpiryMs, known.mtuUntilMs)
        continue
      }
      delete known.mtuBytes
      delete known.mtuUntilMs
      peers.setPathMtu(peer, Number.MAX_SAFE_INTEGER)
    }
  }

  #know(address: string, more: Known): void {
    this.#known.set(address, { ...this.#known.get(address), ...more })
  }
}
