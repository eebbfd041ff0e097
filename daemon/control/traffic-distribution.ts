/**
 * Who of a Service's ready endpoints is near enough to this node: spec.trafficDistribution of the Service, and the hints
 * that whoever wrote an EndpointSlice put there. Pure. Traffic policies of Local come first, and know of no nearness.
 *
 * As kube-proxy does since Kubernetes 1.34: hints count where every endpoint has them. Without them a node goes by what
 * it sees itself: which node an endpoint is on, and in which zone. Where nobody is near, everybody is.
 */
import type { Service } from '../cluster/service-objects.ts'
import type { ServiceEndpoint } from './endpoints.ts'

/** Where a node says which zone it is in. */
export const ZONE_LABEL = 'topology.kubernetes.io/zone'

/** This node, and the zones of those that have one. */
export interface Topology {
  nodeName: string
  zones: ReadonlyMap<string, string>
}

/** Of these, all of them ready, those that new flows from here go to; all where the Service does not care. */
export function nearest(
  ready: readonly ServiceEndpoint[],
  { spec }: Service,
  { nodeName, zones }: Topology,
): readonly ServiceEndpoint[] {
  const { trafficDistribution } = spec
  const zone = zones.get(nodeName)
  const ofNode = hinted(ready, ({ forNodes }) => forNodes, nodeName)
  const ofZone = hinted(ready, ({ forZones }) => forZones, zone)
  if (ofNode !== undefined || ofZone !== undefined) return firstOf(ofNode, ofZone) ?? ready
  if (trafficDistribution === undefined) return ready
  const onNode = trafficDistribution === 'PreferSameNode' ? ready.filter((one) => one.nodeName === nodeName) : []
  const inZone = zone === undefined ? [] : ready.filter((one) => zoneOf(one, zones) === zone)
  return firstOf(onNode, inZone) ?? ready
}

/** Undefined unless every one of them has a hint of this kind. */
function hinted(
  ready: readonly ServiceEndpoint[],
  hintsOf: (endpoint: ServiceEndpoint) => readonly string[] | undefined,
  here: string | undefined,
): ServiceEndpoint[] | undefined {
  if (ready.some((one) => hintsOf(one) === undefined)) return undefined
  return here === undefined ? [] : ready.filter((one) => hintsOf(one)!.includes(here))
}

function firstOf(...lists: (ServiceEndpoint[] | undefined)[]): ServiceEndpoint[] | undefined {
  return lists.find((list) => list !== undefined && list.length > 0)
}

function zoneOf({ zone, nodeName }: ServiceEndpoint, zones: ReadonlyMap<string, string>): string | undefined {
  return zone ?? (nodeName === undefined ? undefined : zones.get(nodeName))
}
