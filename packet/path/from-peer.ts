/**
 * The life of a packet from another node: out of its VXLAN envelope, then to a pod of this node or to the host. A node
 * carries nothing between two others, but what came for a service of its own.
 */
import * as ethernet from '../formats/ethernet.ts'
import * as vxlan from '../formats/vxlan.ts'
import type { Packet } from '../packet.ts'
import type { Tables } from '../tables/tables.ts'
import {
  DROP_CONGESTION,
  DROP_MALFORMED_VXLAN,
  DROP_NO_TRANSIT,
  DROP_NOT_IP,
  DROP_TTL_EXPIRED,
  DROP_UNKNOWN_PEER,
  DROP_WRONG_VNI,
} from './drop-reason.ts'
import * as ecn from './ecn.ts'
import * as flows from './flow.ts'
import { guardPeer } from './guard.ts'
import * as mtu from './mtu.ts'
import * as neighbour from './neighbour.ts'
import * as offload from './offload.ts'
import * as parser from './parse.ts'
import * as rewriting from './rewrite.ts'
import { route } from './route.ts'
import { serve } from './service.ts'
import * as verdicts from './verdict.ts'

// Names of this file's own: V8 folds these into the code, imported ones it loads at every use.
const { DROP, drop, HOST, kindOf, NEIGHBOUR, TO_PEER, TO_POD, toPeer, WORLD } = verdicts
const { UNDECIDED, aim, decidedBefore, findFlow, keepFlow, answersHost } = flows
const { parse } = parser
const { limitSize, mtuBytes } = mtu
const { asksForUs } = neighbour
const { lostToCongestion } = ecn
const { recoverOffload } = offload
const { ENCAPSULATION_BYTES, rewrite } = rewriting
const { check: checkVxlan, vni, HEADER_LEN: VXLAN_HEADER_LEN } = vxlan
const { check: checkEthernet, etherType, ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN: ETHERNET_HEADER_LEN } = ethernet
type Verdict = verdicts.Verdict

/** `packet` holds the UDP payload; `peer` is whose underlay address it came from, -1 for nobody's. */
export function fromPeer(packet: Packet, peer: number, tables: Tables): Verdict {
  if (peer === -1) return drop(DROP_UNKNOWN_PEER)

  const unopened = decapsulate(packet, tables)
  if (unopened !== 0) return drop(unopened)
  if (asksForUs(packet, tables)) return NEIGHBOUR
  if (!carriesIp(packet)) return drop(DROP_NOT_IP)

  const malformed = parse(packet)
  if (malformed !== 0) return drop(malformed)
  if (lostToCongestion(packet)) return drop(DROP_CONGESTION)
  if (tables.peers.isForeign(peer)) recoverOffload(packet, tables.mtuBytes)

  const flow = findFlow(packet, tables)
  aim(packet, flow, tables)
  const before = decidedBefore(flow, toPeer(peer), tables)

  const refused = before === UNDECIDED ? guardPeer(packet, peer, tables) : 0
  if (refused !== 0) return drop(refused)

  const unserved = before === UNDECIDED ? serve(packet, flow, toPeer(peer), tables) : 0
  if (unserved !== 0) return drop(unserved)

  if (packet.ttl <= 1) return drop(DROP_TTL_EXPIRED)

  const verdict = before === UNDECIDED ? route(packet, tables) : before
  if (kindOf(verdict) === DROP) return verdict
  const back = verdict === WORLD && answersHost(flow, tables)
  const onward = packet.isTranslated && kindOf(verdict) === TO_PEER
  if (kindOf(verdict) !== TO_POD && verdict !== HOST && !back && !onward) return drop(DROP_NO_TRANSIT)

  const unfit = limitSize(packet, mtuBytes(verdict, tables))
  if (unfit !== 0) return drop(unfit)

  const full = keepFlow(packet, flow, before, toPeer(peer), verdict, tables)
  if (full !== 0) return drop(full)

  rewrite(packet, verdict, tables)
  return verdict
}

/** Moves `at` behind the VXLAN and Ethernet headers (RFC 7348, 5). */
const decapsulate = (packet: Packet, tables: Tables): number => {
  const { view, at, end } = packet
  const frame = at + VXLAN_HEADER_LEN
  if (!checkVxlan(view, at, end) || !checkEthernet(view, frame, end)) return DROP_MALFORMED_VXLAN
  if (vni(view, at) !== tables.vni) return DROP_WRONG_VNI
  packet.at = at + ENCAPSULATION_BYTES
  return 0
}

const carriesIp = ({ view, at }: Packet): boolean => {
  const type = etherType(view, at - ETHERNET_HEADER_LEN)
  return type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6
}
