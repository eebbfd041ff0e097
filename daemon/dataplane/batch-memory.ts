/**
 * What a batch lies in, shared by main and every worker: the arena of slots, the descriptors, and how far the batch has
 * come. A worker may die in the middle of a batch; the next one finds here which packets are decided but not yet sent,
 * and which one was at hand.
 *
 * The order of writes is the contract: a packet is entered before anything looks at it, and FILLED moves together with
 * the position, when all that the packet brought forth stands in transmit descriptors. Before these are sent, FILLED
 * goes back to 0: what a worker dies of while sending is lost, but nothing is sent twice.
 */
import * as d from '../nic/descriptors.ts'
import { QUARANTINE_ORIGINS } from './quarantine.ts'

/** As many as one batch may have: 64 messages of the underlay, and 64 packets of a TUN. */
export const SLOTS = 128
/** Room for the pieces of the largest packet, whatever the MTU. */
const SCRATCH_SLOTS = 4
export const SCRATCH_START = SLOTS * d.SLOT_BYTES
export const SCRATCH_END = (SLOTS + SCRATCH_SLOTS) * d.SLOT_BYTES
export const TX_DESCRIPTORS = 4096

// Words of the progress array.
/** Descriptors that were received. */
export const RECEIVED = 0
/** The descriptor whose packet is at hand, or would be next. */
export const AT_DESCRIPTOR = 1
/** How many bytes of it are done: a GRO train is many packets. */
export const AT_BYTES = 2
/** How often a worker began with this packet; 0 where it is not begun. */
export const TRIES = 3
/** Transmit descriptors of packets that are done but not sent. */
export const FILLED = 4
/** Where the packet at hand came from (quarantine.ts). */
export const ORIGIN = 5
const PROGRESS_WORDS = 8

export interface BatchMemory {
  readonly arena: Uint8Array
  readonly rx: Int32Array
  readonly tx: Int32Array
  readonly progress: Int32Array
  /** By origin: not 0 where everything from there is dropped. */
  readonly quarantine: Uint8Array
}

export function createBatchMemory(): BatchMemory {
  const words = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4))
  return {
    arena: new Uint8Array(new SharedArrayBuffer(SCRATCH_END)),
    rx: words(SLOTS * d.RX_WORDS),
    tx: words(TX_DESCRIPTORS * d.TX_WORDS),
    progress: words(PROGRESS_WORDS),
    quarantine: new Uint8Array(new SharedArrayBuffer(QUARANTINE_ORIGINS)),
  }
}

// Names of this file's own: V8 folds these into the code, an exported constant it loads at every use.
const { RX_WORDS, RX_LENGTH, RX_SEGMENT } = d
const DESCRIPTOR = AT_DESCRIPTOR
const DONE = AT_BYTES

/** Bytes of the packet at hand: from its descriptor's offset plus AT_BYTES on. */
export function bytesAtHand({ rx, progress }: BatchMemory): number {
  const at = progress[DESCRIPTOR]! * RX_WORDS
  const left = rx[at + RX_LENGTH]! - progress[DONE]!
  return Math.min(rx[at + RX_SEGMENT]! || left, left)
}

/** The packet at hand is not tried again. */
export function skipPacketAtHand(memory: BatchMemory): void {
  memory.progress[AT_BYTES]! += bytesAtHand(memory)
  memory.progress[TRIES] = 0
}
