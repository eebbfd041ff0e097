/**
 * What a TCP segment means for its flow: RFC 9293 as seen from the middle. The two ends decide what is right; here it
 * is only noted how far the conversation is, so as to know how long to remember it.
 *
 * Nobody can end a flow from outside: a FIN or RST counts only where its sequence number lies in what the other side
 * allowed, and a flow marked as reset goes on as if nothing had been where its ends go on talking (a receiver answers
 * a doubtful RST with a challenge and stays, RFC 5961). What lies outside is carried, and changes nothing.
 *
 * For each direction: the highest sequence number sent, the highest acknowledgement, and how far the other side's
 * window lets it go. After a pick-up in the middle the window's scale is not known and taken for the largest.
 */
import * as tcp from '../formats/tcp.ts'
import type { Packet } from '../packet.ts'
import * as layout from '../tables/flow-layout.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const {
  ACKNOWLEDGED,
  ALLOWED,
  FIN_ORIGINAL,
  FIN_REPLY,
  KNOWN_ACKNOWLEDGED,
  KNOWN_SENT,
  SCALE_SHIFT,
  SEEN_REPLY,
  SENT,
  STATE_CLOSED,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_MASK,
  STATE_NONE,
  STATE_PICKED_UP,
  STATE_RESET,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} = layout
const {
  FLAG_ACK,
  FLAG_FIN,
  FLAG_RST,
  FLAG_SYN,
  acknowledgmentNumber,
  flags: flagsOf,
  sequenceNumber,
  window: windowOf,
} = tcp

const MAX_SCALES = 0xee << SCALE_SHIFT
/** How far behind what was acknowledged a repeated segment may begin. */
const OLD_BYTES = 1 << 20
const BOTH_FINS = FIN_ORIGINAL | FIN_REPLY

/** Answers the flow's new status. `at`: its entry; `reply`: 1 for the reply direction. */
export function followTcp(words: Int32Array, at: number, status: number, reply: number, packet: Packet): number {
  const flags = flagsOf(packet.view, packet.l4)
  if (flags & FLAG_SYN) return followSyn(words, at, status, reply, packet, flags)
  if (!isInWindow(words, at, status, reply, packet, flags)) return status
  if (flags & FLAG_RST) return setState(status, STATE_RESET)
  const fresh = (status & STATE_MASK) === STATE_NONE
  const noted = noteSent(words, at, fresh ? status | MAX_SCALES : status, reply, packet, flags)
  return advance(noted, reply, flags)
}

/** Whether a SYN on a finished conversation's addresses begins a new one. */
export function beginsAnew(status: number, packet: Packet): boolean {
  const state = status & STATE_MASK
  if (state !== STATE_CLOSED && state !== STATE_RESET && state !== STATE_PICKED_UP) return false
  return (flagsOf(packet.view, packet.l4) & (FLAG_SYN | FLAG_ACK | FLAG_RST)) === FLAG_SYN
}

/** A reset alone is the end of something, never the beginning. */
export function beginsNothing(packet: Packet): boolean {
  return (flagsOf(packet.view, packet.l4) & FLAG_RST) !== 0
}

/** A SYN opens, or answers one; in the middle of a conversation it means nothing (its receiver challenges it). */
function followSyn(
  words: Int32Array,
  at: number,
  status: number,
  reply: number,
  packet: Packet,
  flags: number,
): number {
  const state = status & STATE_MASK
  if (state !== STATE_NONE && state !== STATE_SYN_SENT && state !== STATE_SYN_RECEIVED) return status
  if (flags & FLAG_ACK && reply === 1 && !acknowledgesSyn(words, at, packet)) return status
  const scale = Math.max(0, tcp.windowScale(packet.view, packet.l4))
  const shift = SCALE_SHIFT + 4 * reply
  const scaled = (status & ~(0xf << shift)) | (scale << shift)
  const noted = noteSent(words, at, scaled, reply, packet, flags)
  return setState(noted, reply === 1 ? STATE_SYN_RECEIVED : STATE_SYN_SENT)
}

/** Whether the segment proves that its sender has seen the SYN, and at most the data that came with it. */
function acknowledgesSyn(words: Int32Array, at: number, packet: Packet): boolean {
  const unseen = (words[at + SENT]! - acknowledgmentNumber(packet.view, packet.l4)) | 0
  return unseen >= 0 && unseen < 0x10000
}

const advance = (status: number, reply: number, flags: number): number => {
  const next = flags & FLAG_FIN ? status | (reply === 1 ? FIN_REPLY : FIN_ORIGINAL) : status
  if ((next & BOTH_FINS) === BOTH_FINS) return setState(next, STATE_CLOSED)
  if (next & BOTH_FINS) return setState(next, STATE_CLOSING)
  switch (status & STATE_MASK) {
    case STATE_NONE:
      return setState(next, STATE_PICKED_UP)
    case STATE_SYN_RECEIVED:
      return reply === 1 ? next : setState(next, STATE_ESTABLISHED)
    case STATE_PICKED_UP:
      return next & SEEN_REPLY ? setState(next, STATE_ESTABLISHED) : next
    case STATE_RESET:
      return setState(next, STATE_ESTABLISHED)
    default:
      return next
  }
}

/** Whether the other side, as far as is known of it, would look at this segment. */
const isInWindow = (
  words: Int32Array,
  at: number,
  status: number,
  reply: number,
  packet: Packet,
  flags: number,
): boolean => {
  const reset = (flags & FLAG_RST) !== 0
  // A SYN may be refused: the refusal proves itself by what it acknowledges.
  if (reset && reply === 1 && (status & STATE_MASK) === STATE_SYN_SENT) return acknowledgesSyn(words, at, packet)
  if ((status & (KNOWN_ACKNOWLEDGED << (1 - reply))) === 0) return true
  const seq = sequenceNumber(packet.view, packet.l4)
  const ahead = (seq - words[at + ALLOWED + reply]!) | 0
  const behind = (seq - words[at + ACKNOWLEDGED + 1 - reply]!) | 0
  return ahead <= 0 && behind >= (reset ? 0 : -OLD_BYTES)
}

/** What was sent, acknowledged and allowed only ever grows. */
const noteSent = (
  words: Int32Array,
  at: number,
  status: number,
  reply: number,
  packet: Packet,
  flags: number,
): number => {
  const { view, l4 } = packet
  const length = packet.end - packet.payload + (flags & FLAG_SYN ? 1 : 0) + (flags & FLAG_FIN ? 1 : 0)
  const sent = (sequenceNumber(view, l4) + length) | 0
  raise(words, at + SENT + reply, sent, (status & (KNOWN_SENT << reply)) !== 0)
  const known = status | (KNOWN_SENT << reply)
  if ((flags & FLAG_ACK) === 0) return known
  const acknowledged = acknowledgmentNumber(view, l4)
  const scale = flags & FLAG_SYN ? 0 : (status >>> (SCALE_SHIFT + 4 * reply)) & 0xf
  const allowed = (acknowledged + (windowOf(view, l4) << scale)) | 0
  const before = (status & (KNOWN_ACKNOWLEDGED << reply)) !== 0
  raise(words, at + ACKNOWLEDGED + reply, acknowledged, before)
  raise(words, at + ALLOWED + 1 - reply, allowed, before)
  return known | (KNOWN_ACKNOWLEDGED << reply)
}

const raise = (words: Int32Array, at: number, value: number, known: boolean): void => {
  if (!known || ((value - words[at]!) | 0) > 0) words[at] = value
}

function setState(status: number, state: number): number {
  return (status & ~STATE_MASK) | state
}
