/**
 * The flow step. Before the decision a packet's flow is looked up, from either side, in one lookup; once it is decided
 * that the packet will be delivered, the flow is opened or goes on. So what is dropped leaves no trace.
 *
 * Untracked are ICMP messages that are neither echo nor about a flow, fragments whose first one has not passed, and a
 * TCP reset that belongs to nothing: they are carried by their addresses alone.
 */

import { FlowKey } from '../flow-key.ts'
import * as protocols from '../formats/protocols.ts'
import type { Packet } from '../packet.ts'
import * as layout from '../tables/flow-layout.ts'
import * as flowTable from '../tables/flows.ts'
import type { Tables } from '../tables/tables.ts'
import { DROP_FLOW_TABLE_FULL } from './drop-reason.ts'
import { mirror, quotedTuple } from './flow-tuple.ts'
import * as sctpFlow from './sctp-flow.ts'
import * as tcpFlow from './tcp-flow.ts'
import { indexOf, kindOf, TO_PEER, TO_POD, toPeer, type Verdict, WORLD } from './verdict.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const {
  ASSURED,
  ENDPOINT,
  ORIGIN,
  ORIGIN_ADDRESS,
  ORIGIN_HOST,
  ORIGIN_PEER,
  ORIGIN_POD,
  SEEN_REPLY,
  STATE_CLOSED,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_MASK,
  STATE_PICKED_UP,
  STATE_RESET,
  STATUS,
  TRANSLATED,
  TUPLE_WORDS,
} = layout
const { NO_FLOW, readTuple } = flowTable
const { followSctp } = sctpFlow
const { beginsAnew, beginsNothing, followTcp } = tcpFlow
const { PROTOCOL_SCTP, PROTOCOL_TCP } = protocols
type FlowRef = flowTable.FlowRef
type FlowTable = flowTable.FlowTable

const UNTRACKED: FlowRef = -2
export const UNDECIDED: Verdict = 0
const NOTHING_DECIDED = UNDECIDED
/** On a reference: the packet is an error about the flow, in the direction in which it travels, and no part of it. */
const RELATED = 0x40000000

/** Time-outs in tenths of a second: how long a flow is remembered after its last packet. */
const SECOND = 10
const TCP_LIFETIMES: readonly number[] = (() => {
  const lifetimes = new Array<number>(STATE_MASK + 1).fill(60 * SECOND)
  lifetimes[STATE_ESTABLISHED] = 86_400 * SECOND // RFC 5382 asks for 2 hours and 4 minutes at least
  lifetimes[STATE_PICKED_UP] = 300 * SECOND
  lifetimes[STATE_CLOSING] = 300 * SECOND
  lifetimes[STATE_CLOSED] = 120 * SECOND
  lifetimes[STATE_RESET] = 10 * SECOND
  return lifetimes
})()
const UNANSWERED_LIFETIME = 30 * SECOND
const ANSWERED_LIFETIME = 180 * SECOND // RFC 4787 asks for 2 minutes at least

const other = new FlowKey()
/** The flow of an earlier conversation, at whose place a new one begins if the packet at hand is delivered. */
let remains: FlowRef = NO_FLOW

/** The flow of the packet. The answer is for the steps of its walk alone, and holds until the next packet. */
export function findFlow(packet: Packet, tables: Tables): FlowRef {
  const { flows } = tables
  if (!packet.isFlowKey) return packet.l4 === 0 ? flowOfFragment(packet, tables) : flowQuoted(packet, tables)
  const ref = flows.find(packet)
  remains = NO_FLOW
  if (ref === NO_FLOW) return packet.protocol === PROTOCOL_TCP && beginsNothing(packet) ? UNTRACKED : NO_FLOW
  if (packet.protocol === PROTOCOL_TCP) {
    if (!beginsAnew(flows.words[flows.at(ref) + STATUS]!, packet)) return ref
  } else if (!isAbandoned(ref, tables)) return ref
  remains = ref
  return NO_FLOW
}

/** A conversation without connections whose endpoint is gone goes to another one. */
const isAbandoned = (ref: FlowRef, tables: Tables): boolean => {
  return (ref & 1) === 0 && tables.flows.isStale(ref) && isEndpointGone(ref, tables)
}

/** Whether the flow was sent to an endpoint that is no longer behind the frontend. */
export function isEndpointGone(found: FlowRef, { flows, services }: Tables): boolean {
  const at = flows.at(found & ~RELATED)
  const identity = flows.words[at + ENDPOINT]!
  if (identity === 0) return false
  readTuple(flows.words, at, other)
  return !services.isThere(other, identity)
}

/** A packet of a translated flow leaves as the flow's other side knows it: from where that one answers, and to whom. */
export function aim(packet: Packet, found: FlowRef, tables: Tables): void {
  if (found < 0) return
  const ref = found & ~RELATED
  const { flows } = tables
  const at = flows.at(ref)
  if ((flows.words[at + STATUS]! & TRANSLATED) === 0) return
  const side = at + (ref & 1) * TUPLE_WORDS
  const otherSide = at + (1 - (ref & 1)) * TUPLE_WORDS
  readTuple(flows.words, otherSide, other)
  mirror(other, packet.leaves)
  packet.isTranslated = true
  if (!isRelated(found)) return
  readTuple(flows.words, otherSide, packet.quoted)
  // An error may come from a router on the way: that one keeps its address.
  if (!isSource(flows.words, side, packet)) packet.leaves.takeSource(packet)
}

function isSource(words: Int32Array, tuple: number, { src0, src1, src2, src3 }: Packet): boolean {
  return words[tuple + 3] === src3 && words[tuple + 2] === src2 && words[tuple + 1] === src1 && words[tuple] === src0
}

/**
 * What became of the packets before it on the same way, where nothing has changed since; 0: nothing is known. Guard and
 * route then have nothing to add.
 */
export function decidedBefore(found: FlowRef, origin: Verdict, tables: Tables): Verdict {
  return found < 0 || isRelated(found) ? NOTHING_DECIDED : tables.flows.decided(found, origin)
}

function flowOfFragment(packet: Packet, tables: Tables): FlowRef {
  const ref = tables.fragments.find(packet, tables.flows)
  return ref === NO_FLOW ? UNTRACKED : ref
}

function flowQuoted(packet: Packet, tables: Tables): FlowRef {
  const ref = quotedTuple(packet, other) ? tables.flows.find(other) : NO_FLOW
  return ref === NO_FLOW ? UNTRACKED : ref | RELATED
}

/**
 * The packet will be delivered: its flow goes on, or begins here. `origin` is where it came from, `verdict` where it
 * goes. Answers 0, or the drop reason where there is no room for another flow.
 */
export function keepFlow(
  packet: Packet,
  found: FlowRef,
  before: Verdict,
  origin: Verdict,
  verdict: Verdict,
  tables: Tables,
): number {
  if (found === UNTRACKED || isRelated(found)) return 0
  const { flows } = tables
  const ref = found === NO_FLOW ? beginFlow(packet, origin, tables) : found
  if (ref === NO_FLOW) return DROP_FLOW_TABLE_FULL
  if (before === NOTHING_DECIDED) flows.decide(ref, origin, verdict)
  follow(packet, ref, flows)
  if (packet.isFragment && packet.l4 !== 0) tables.fragments.remember(packet, ref, flows)
  return 0
}

function beginFlow(packet: Packet, origin: Verdict, tables: Tables): FlowRef {
  const { flows } = tables
  if (remains !== NO_FLOW) flows.close(remains)
  mirror(packet.isTranslated ? packet.leaves : packet, other)
  const ref = flows.open(packet, other)
  if (ref === NO_FLOW) return NO_FLOW
  noteOrigin(flows, ref, origin, tables)
  if (packet.isTranslated) noteTranslation(flows, ref, packet)
  return ref
}

/**
 * Replies to what came from beyond the cluster through another node go back through that node: only there are they
 * expected.
 */
export function wayBack(verdict: Verdict, found: FlowRef, tables: Tables): Verdict {
  if (verdict !== WORLD || found < 0 || (found & 1) === 0) return verdict
  const { flows } = tables
  const at = flows.at(found & ~RELATED)
  const { words } = flows
  if (words[at + ORIGIN] !== ORIGIN_PEER) return verdict
  const a = at + ORIGIN_ADDRESS
  const peer = tables.peers.lookup(words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!)
  return peer === -1 ? verdict : toPeer(peer)
}

/** Whether the packet answers what came through this node's host: then it may leave through it, whoever brings it. */
export function answersHost(found: FlowRef, tables: Tables): boolean {
  if (found < 0 || (found & 1) === 0) return false
  const { flows } = tables
  return flows.words[flows.at(found & ~RELATED) + ORIGIN] === ORIGIN_HOST
}

const isRelated = (found: FlowRef): boolean => {
  return found >= 0 && (found & RELATED) !== 0
}

function noteOrigin(flows: FlowTable, ref: FlowRef, origin: Verdict, tables: Tables): void {
  const { words } = flows
  const at = flows.at(ref)
  if (kindOf(origin) === TO_PEER) {
    words[at + ORIGIN] = ORIGIN_PEER
    for (let i = 0; i < 4; i++) words[at + ORIGIN_ADDRESS + i] = tables.peers.addressWord(indexOf(origin), i)
  } else words[at + ORIGIN] = kindOf(origin) === TO_POD ? ORIGIN_POD : ORIGIN_HOST
}

function noteTranslation(flows: FlowTable, ref: FlowRef, { endpoint }: Packet): void {
  const at = flows.at(ref)
  flows.words[at + STATUS]! |= TRANSLATED
  flows.words[at + ENDPOINT] = endpoint
}

/** What the packet says about how far its flow is, and how long it is remembered for that. */
const follow = (packet: Packet, ref: FlowRef, flows: FlowTable): void => {
  const { words } = flows
  const at = flows.at(ref)
  const before = words[at + STATUS]!
  let status = ref & 1 ? before | SEEN_REPLY : before
  const { protocol } = packet
  if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_SCTP) {
    if (packet.l4 !== 0) {
      // Two calls, not one of either: V8 puts the body of a function that is always the same in its place.
      if (protocol === PROTOCOL_TCP) status = followTcp(words, at, status, ref & 1, packet)
      else status = followSctp(words, at, status, ref & 1, packet)
    }
    words[at + STATUS] = status
    if ((status & (STATE_MASK | ASSURED)) === STATE_ESTABLISHED) flows.assure(ref)
    flows.touch(ref, packet, TCP_LIFETIMES[status & STATE_MASK]!)
    return
  }
  words[at + STATUS] = status
  const answered = (status & SEEN_REPLY) !== 0
  // Both have spoken, and the one that asked speaks again.
  if (answered && (ref & 1) === 0 && (status & ASSURED) === 0) flows.assure(ref)
  flows.touch(ref, packet, answered ? ANSWERED_LIFETIME : UNANSWERED_LIFETIME)
}
