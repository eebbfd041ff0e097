/**
 * What an SCTP packet means for its flow (RFC 9260), judged by its first chunk, which is where the chunks of opening
 * and closing stand. Each direction carries a verification tag that its receiver chose; an ABORT or SHUTDOWN COMPLETE
 * without it ends nothing.
 */
import * as sctp from '../formats/sctp.ts'
import type { Packet } from '../packet.ts'
import * as l from '../tables/flow-layout.ts'

/** ABORT and SHUTDOWN COMPLETE of one who knows no association reflect the other side's tag (3.3.7, T bit). */
const FLAG_REFLECTED = 1

/** Answers the flow's new status. `at`: its entry; `reply`: 1 for the reply direction. */
export function followSctp(words: Int32Array, at: number, status: number, reply: number, packet: Packet): number {
  const { view, l4 } = packet
  const tag = sctp.verificationTag(view, l4)
  const chunk = sctp.chunkType(view, l4)
  if (chunk === sctp.CHUNK_INIT)
    return (status & l.STATE_MASK) === l.STATE_NONE ? setState(status, l.STATE_SYN_SENT) : status
  if (chunk === sctp.CHUNK_ABORT || chunk === sctp.CHUNK_SHUTDOWN_COMPLETE) {
    const carrier = sctp.chunkFlags(view, l4) & FLAG_REFLECTED ? 1 - reply : reply
    const known = (status & (l.KNOWN_SENT << carrier)) !== 0
    if (!known || words[at + l.SENT + carrier] !== tag) return status
    return setState(status, chunk === sctp.CHUNK_ABORT ? l.STATE_RESET : l.STATE_CLOSED)
  }
  if ((status & (l.KNOWN_SENT << reply)) === 0) words[at + l.SENT + reply] = tag
  else if (words[at + l.SENT + reply] !== tag) return status
  return advance(status | (l.KNOWN_SENT << reply), chunk)
}

function advance(status: number, chunk: number): number {
  const state = status & l.STATE_MASK
  switch (chunk) {
    case sctp.CHUNK_INIT_ACK:
      return state === l.STATE_SYN_SENT ? setState(status, l.STATE_SYN_RECEIVED) : status
    case sctp.CHUNK_SHUTDOWN:
    case sctp.CHUNK_SHUTDOWN_ACK:
      return setState(status, l.STATE_CLOSING)
    case sctp.CHUNK_COOKIE_ECHO:
      return status
    default:
      if (state === l.STATE_NONE) return setState(status, l.STATE_PICKED_UP)
      if (state === l.STATE_CLOSING || (status & l.SEEN_REPLY) === 0) return status
      return setState(status, l.STATE_ESTABLISHED)
  }
}

function setState(status: number, state: number): number {
  return (status & ~l.STATE_MASK) | state
}
