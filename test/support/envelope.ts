/** An IP packet as it comes from node 2 of two-nodes.ts: VXLAN with VNI 1 and an Ethernet header around it. */
import type { Packet } from '../../packet/packet.ts'
import { packetOf } from './build-packet.ts'

export const PEER_MAC = [2, 0, 0, 0, 0, 2]

/** `payload` is an IP packet, or any other payload where `etherType` says so. */
export function envelopeBytes(payload: Uint8Array, etherType?: number): Uint8Array {
  const type = etherType ?? (payload[0]! >> 4 === 6 ? 0x86dd : 0x0800)
  return Uint8Array.from([8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, ...PEER_MAC, type >> 8, type & 255, ...payload])
}

export function envelope(payload: Uint8Array, etherType?: number): Packet {
  return packetOf(envelopeBytes(payload, etherType), 0)
}
