/**
 * What an SCTP packet means for its flow (RFC 9260), judged by its first chunk, which is where the chunks of opening
 * and closing stand. Each direction carries a verification tag that its receiver chose; an ABORT or SHUTDOWN COMPLETE
 * without it ends nothing.
 */
import * as sctp from '../formats/sctp.ts'
import type { Packet } from '../packet.ts'
import * as layout from '../tables/flow-layout.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const {
  KNOWN_SENT,
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

/** ABORT and SHUTDOWN COMPLETE of one who knows no association reflect the other side's tag (3.3.7, T bit). */
const FLAG_REFLECTED = 1

/** Answers the flow's new status. `at`: its entry; `reply`: 1 for the reply direction. */
export function followSctp(words: Int32Array, at: number, status: number, reply: number, packet: Packet): number {
  const { view, l4 } = packet
  const tag = sctp.verificationTag(view, l4)
  const chunk = sctp.chunkType(view, l4)
  if (chunk === sctp.CHUNK_INIT) return (status & STATE_MASK) === STATE_NONE ? setState(status, STATE_SYN_SENT) : status
  if (chunk === sctp.CHUNK_ABORT || chunk === sctp.CHUNK_SHUTDOWN_COMPLETE) {
    const carrier = sctp.chunkFlags(view, l4) & FLAG_REFLECTED ? 1 - reply : reply
    const known = (status & (KNOWN_SENT << carrier)) !== 0
    if (!known || words[at + SENT + carrier] !== tag) return status
    return setState(status, chunk === sctp.CHUNK_ABORT ? STATE_RESET : STATE_CLOSED)
  }
  if ((status & (KNOWN_SENT << reply)) === 0) words[at + SENT + reply] = tag
  else if (words[at + SENT + reply] !== tag) return status
  return advance(status | (KNOWN_SENT << reply), chunk)
}

function advance(status: number, chunk: number): number {
  const state = status & STATE_MASK
  switch (chunk) {
    case sctp.CHUNK_INIT_ACK:
      return state === STATE_SYN_SENT ? setState(status, STATE_SYN_RECEIVED) : status
    case sctp.CHUNK_SHUTDOWN:
    case sctp.CHUNK_SHUTDOWN_ACK:
      return setState(status, STATE_CLOSING)
    case sctp.CHUNK_COOKIE_ECHO:
      return status
    default:
      if (state === STATE_NONE) return setState(status, STATE_PICKED_UP)
      if (state === STATE_CLOSING || (status & SEEN_REPLY) === 0) return status
      return setState(status, STATE_ESTABLISHED)
  }
}

function setState(status: number, state: number): number {
  return (status & ~STATE_MASK) | state
}
