/**
 * Session affinity: which endpoint a client was sent to last, by service port. A memory of the process; a newer client
 * takes the place of an older one where two meet. What it forgets costs a client its endpoint, no connection.
 */
import type { Packet } from '../packet.ts'

const SLOTS = 16_384
const SLOT_WORDS = 8
const SERVICE = 4
const IDENTITY = 5
const EXPIRES = 6

export class AffinityTable {
  readonly #words = new Int32Array(SLOTS * SLOT_WORDS)

  /** The identity of the endpoint that the packet's sender was sent to; 0: none, or too long ago. `now`: tenths of a second. */
  find(packet: Packet, service: number, now: number): number {
    const words = this.#words
    const at = slotOf(packet, service) * SLOT_WORDS
    const same =
      words[at + SERVICE] === service + 1 &&
      words[at + 3] === packet.src3 &&
      words[at + 2] === packet.src2 &&
      words[at + 1] === packet.src1 &&
      words[at] === packet.src0
    return same && words[at + EXPIRES]! > now ? words[at + IDENTITY]! : 0
  }

  remember(packet: Packet, service: number, identity: number, expires: number): void {
    const words = this.#words
    const at = slotOf(packet, service) * SLOT_WORDS
    words[at] = packet.src0
    words[at + 1] = packet.src1
    words[at + 2] = packet.src2
    words[at + 3] = packet.src3
    words[at + SERVICE] = service + 1
    words[at + IDENTITY] = identity
    words[at + EXPIRES] = expires
  }
}

function slotOf(packet: Packet, service: number): number {
  let h = Math.imul(packet.src3 ^ packet.src0, 0x9e3779b1)
  h = Math.imul((h ^ (h >>> 15)) + packet.src1, 0x85ebca6b)
  h = Math.imul((h ^ (h >>> 13)) + service, 0xc2b2ae35)
  return (h ^ (h >>> 16)) & (SLOTS - 1)
}
