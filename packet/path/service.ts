/**
 * The service step: the first packet of a flow to a frontend is sent to one of its endpoints, and all that follow go the
 * same way, by the flow table. Who answers then answers as the frontend.
 *
 * Traffic policies go by who asks, not by which address is asked: a pod or a node is inside, whatever else came through
 * the host is outside.
 *
 * The choice is even: by chance among the endpoints, or the one of last time where the service port has affinity. The
 * sender keeps its address, so that an endpoint sees who calls, but for the cases in which the answer would not come back
 * this way: an endpoint that calls itself sees the frontend's address; an endpoint behind a node that is no polder sees
 * this node's second address, and so do one on another node if the packet came from another node, and the host itself if
 * it calls itself.
 */
import { FlowKey } from '../flow-key.ts'
import type { Packet } from '../packet.ts'
import * as flowTable from '../tables/flows.ts'
import { FROM_OUTSIDE } from '../tables/services.ts'
import type { Tables } from '../tables/tables.ts'
import {
  DROP_ENDPOINT_GONE,
  DROP_NO_ENDPOINT,
  DROP_NO_FREE_PORT,
  DROP_NO_LOCAL_ENDPOINT,
  DROP_NO_SUCH_SERVICE_PORT,
  DROP_SOURCE_NOT_ALLOWED,
} from './drop-reason.ts'
import * as flow from './flow.ts'
import { mirror } from './flow-tuple.ts'
import { route } from './route.ts'
import { indexOf, kindOf, TO_HOST, TO_PEER, type Verdict, WORLD } from './verdict.ts'

// Names of this file's own: V8 folds these into the code, an imported constant it loads at every use.
const { NO_FLOW } = flowTable
const { isEndpointGone } = flow
type FlowRef = flowTable.FlowRef

/** How many source ports are tried for one that the answers can be told apart by. */
const PORT_TRIES = 32
const FIRST_FREE_PORT = 32_768

const answers = new FlowKey()

/**
 * Where the packet is for a service and its flow begins here, decides to which endpoint; `origin` is where it came from.
 * Answers 0, or the drop reason. Where it is for no service, nothing happens.
 */
export function serve(packet: Packet, found: FlowRef, origin: Verdict, tables: Tables): number {
  if (found !== NO_FLOW) return isOrphan(packet, found, tables) ? DROP_ENDPOINT_GONE : 0
  const { services } = tables
  const { dst0, dst1, dst2, dst3 } = packet
  const met = services.find(dst0, dst1, dst2, dst3, packet.ports & 0xffff, packet.protocol)
  if (met === -1) return services.hasAddress(dst0, dst1, dst2, dst3) ? DROP_NO_SUCH_SERVICE_PORT : 0
  const frontend = isOutside(packet, origin, tables) ? met | FROM_OUTSIDE : met
  if (!services.admits(frontend, packet.src0, packet.src1, packet.src2, packet.src3)) return DROP_SOURCE_NOT_ALLOWED
  const endpoint = choose(packet, frontend, tables)
  if (endpoint === -1) return services.usable(frontend) === 0 ? DROP_NO_ENDPOINT : DROP_NO_LOCAL_ENDPOINT
  aimAt(packet, endpoint, tables)
  return disguise(packet, origin, tables) ? 0 : DROP_NO_FREE_PORT
}

/** Through the host, from an address that is no pod's and no node's. */
function isOutside({ src0, src1, src2, src3 }: Packet, origin: Verdict, { routes }: Tables): boolean {
  return kindOf(origin) === TO_HOST && routes.lookup(src0, src1, src2, src3) === WORLD
}

/** The endpoint that a connection was with is gone, and it cannot go on with another. */
function isOrphan(packet: Packet, found: FlowRef, tables: Tables): boolean {
  return packet.isTranslated && (found & 1) === 0 && isEndpointGone(found, tables)
}

function choose(packet: Packet, frontend: number, tables: Tables): number {
  const { services, affinity, flows } = tables
  const count = services.count(frontend)
  if (count === 0) return -1
  const seconds = services.affinitySeconds(frontend)
  if (seconds === 0) return services.endpoint(frontend, flows.random(count))
  const service = services.serviceIdentity(frontend)
  const last = affinity.find(packet, service, flows.now)
  const before = last === 0 ? -1 : services.endpointOf(frontend, last)
  const endpoint = before === -1 ? services.endpoint(frontend, flows.random(count)) : before
  affinity.remember(packet, service, services.identity(endpoint), flows.now + seconds * 10)
  return endpoint
}

function aimAt(packet: Packet, endpoint: number, { services }: Tables): void {
  const { leaves } = packet
  leaves.takeSource(packet)
  leaves.dst0 = services.addressWord(endpoint, 0)
  leaves.dst1 = services.addressWord(endpoint, 1)
  leaves.dst2 = services.addressWord(endpoint, 2)
  leaves.dst3 = services.addressWord(endpoint, 3)
  leaves.protocol = packet.protocol
  leaves.ports = (packet.ports & 0xffff0000) | services.port(endpoint)
  packet.isTranslated = true
  packet.endpoint = services.identity(endpoint)
}

/** Sees to it that the answers come back here, and can be told from those of every other flow. */
function disguise(packet: Packet, origin: Verdict, tables: Tables): boolean {
  const { leaves } = packet
  if (isItself(packet)) asFrontend(packet)
  else {
    const verdict = route(packet, tables)
    if (needsNode(verdict, origin, tables)) asNode(packet, tables)
  }
  for (let i = 0; i < PORT_TRIES; i++) {
    mirror(leaves, answers)
    if (tables.flows.find(answers) === NO_FLOW) return true
    const port = FIRST_FREE_PORT + tables.flows.random(0x10000 - FIRST_FREE_PORT)
    leaves.ports = (port << 16) | (leaves.ports & 0xffff)
  }
  return false
}

/** Who would answer past this node, or be answered by it as itself. */
function needsNode(verdict: Verdict, origin: Verdict, { peers }: Tables): boolean {
  const from = kindOf(origin)
  if (kindOf(verdict) === TO_HOST) return from === TO_HOST
  return kindOf(verdict) === TO_PEER && (from === TO_PEER || (from === TO_HOST && peers.isForeign(indexOf(verdict))))
}

function isItself({ leaves, src0, src1, src2, src3 }: Packet): boolean {
  return leaves.dst3 === src3 && leaves.dst2 === src2 && leaves.dst1 === src1 && leaves.dst0 === src0
}

function asFrontend({ leaves, dst0, dst1, dst2, dst3 }: Packet): void {
  leaves.src0 = dst0
  leaves.src1 = dst1
  leaves.src2 = dst2
  leaves.src3 = dst3
}

function asNode(packet: Packet, tables: Tables): void {
  const address = packet.family === 4 ? tables.nat4 : tables.nat6
  if (address === undefined) return
  const { leaves } = packet
  leaves.src0 = address[0]
  leaves.src1 = address[1]
  leaves.src2 = address[2]
  leaves.src3 = address[3]
}
