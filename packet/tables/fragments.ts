/**
 * Which flow the fragments of a datagram belong to: only the first one has ports. A small memory of its own, not kept
 * over a restart; a newer datagram takes the place of an older one where two meet, so there is nothing to fill up.
 */
import type { Packet } from '../packet.ts'
import * as l from './flow-layout.ts'
import { type FlowRef, type FlowTable, NO_FLOW } from './flows.ts'

const SLOTS = 2048
const SLOT_WORDS = 16
const ID = 8
const PROTOCOL = 9
const REF = 10
const LIFE = 11
const EXPIRES = 12
/** Tenths of a second; a receiver gives up after as long (RFC 791 asks for 15 s, Linux waits 30). */
const LIFETIME = 300

export class FragmentTable {
  readonly #words = new Int32Array(SLOTS * SLOT_WORDS)

  /** The first fragment tells which flow the others belong to. */
  remember(packet: Packet, ref: FlowRef, flows: FlowTable): void {
    const words = this.#words
    const at = slotOf(packet) * SLOT_WORDS
    words[at] = packet.src0
    words[at + 1] = packet.src1
    words[at + 2] = packet.src2
    words[at + 3] = packet.src3
    words[at + 4] = packet.dst0
    words[at + 5] = packet.dst1
    words[at + 6] = packet.dst2
    words[at + 7] = packet.dst3
    words[at + ID] = packet.fragmentId
    words[at + PROTOCOL] = packet.protocol
    words[at + REF] = ref
    words[at + LIFE] = flows.words[flows.at(ref) + l.LIFE]!
    words[at + EXPIRES] = flows.now + LIFETIME
  }

  /** The flow of a fragment whose first one has passed, or NO_FLOW. */
  find(packet: Packet, flows: FlowTable): FlowRef {
    const words = this.#words
    const at = slotOf(packet) * SLOT_WORDS
    const same =
      words[at + ID] === packet.fragmentId &&
      words[at + PROTOCOL] === packet.protocol &&
      words[at + 3] === packet.src3 &&
      words[at + 7] === packet.dst3 &&
      words[at + 2] === packet.src2 &&
      words[at + 6] === packet.dst2 &&
      words[at + 1] === packet.src1 &&
      words[at + 5] === packet.dst1 &&
      words[at] === packet.src0 &&
      words[at + 4] === packet.dst0
    if (!same || words[at + EXPIRES]! <= flows.now) return NO_FLOW
    const ref = words[at + REF]!
    return flows.words[flows.at(ref) + l.LIFE] === words[at + LIFE] ? ref : NO_FLOW
  }
}

function slotOf(packet: Packet): number {
  let h = Math.imul(packet.src3 ^ packet.src0, 0x9e3779b1)
  h = Math.imul((h ^ (h >>> 15)) + packet.dst3, 0x85ebca6b)
  h = Math.imul((h ^ (h >>> 13)) + packet.fragmentId, 0xc2b2ae35)
  return ((h ^ (h >>> 16)) + packet.protocol) & (SLOTS - 1)
}
