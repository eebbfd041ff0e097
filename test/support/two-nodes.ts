/**
 * The cluster that table tests of the path play in: this node is node 1, with two pods; node 2 is its peer.
 *
 *   pod 3  10.244.1.5  fd00:10:244:1::5 ┐
 *   pod 4  10.244.1.6  fd00:10:244:1::6 ┼ node1 192.0.2.1 ═══ VXLAN ═══ node2 192.0.2.2   10.244.2.0/24, fd00:10:244:2::/64
 */
import { surroundingsOf, vtepMac } from '../../daemon/control/surroundings.ts'
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import {
  ANSWER,
  DIRECT,
  DROP,
  HOST,
  indexOf,
  kindOf,
  TO_PEER,
  TO_POD,
  type Verdict,
} from '../../packet/path/verdict.ts'
import type { ServicePort } from '../../packet/tables/service-port.ts'
import { ServiceTable } from '../../packet/tables/services.ts'
import { buildTables, openTables, type TableBuffers, type Tables } from '../../packet/tables/tables.ts'

export const POD_A = 3
export const POD_B = 4
export const MTU_BYTES = 1450
const SERVICE_CIDRS = ['10.96.0.0/16', 'fd00:10:96::/112']
const POD_CIDRS = ['10.244.1.0/24', 'fd00:10:244:1::/64']
/** Node 1's MAC on the overlay, as a 48-bit number. */
export const OWN_MAC = Number.parseInt(vtepMac(POD_CIDRS).replaceAll(':', ''), 16)

/** `foreign`: node 2 is a kernel VXLAN device. */
export function twoNodes({ foreign = false } = {}): Tables {
  return openTables(twoNodesBuffers([], foreign))
}

export function twoNodesBuffers(services: ServicePort[], foreign = false): TableBuffers {
  const { surroundings } = surroundingsOf(
    {
      name: 'node1',
      podCIDRs: POD_CIDRS,
      underlayAddress: '192.0.2.1',
      mtuBytes: MTU_BYTES,
      tunnelMtuBytes: MTU_BYTES,
    },
    [
      {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: {
          name: 'node2',
          annotations: {
            'polder/underlay-address': '192.0.2.2',
            ...(foreign && { 'polder/vtep-mac': '02:00:00:00:00:02' }),
          },
        },
        spec: { podCIDRs: ['10.244.2.0/24', 'fd00:10:244:2::/64'] },
      },
    ],
    {
      podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
      serviceCIDRs: SERVICE_CIDRS,
      vxlanPort: 4789,
      vxlanVni: 1,
      copyDscp: false,
      encapsulation: 'vxlan',
    },
    () => true,
  )
  const pods = [
    { port: POD_A, addresses: ['10.244.1.5', 'fd00:10:244:1::5'] },
    { port: POD_B, addresses: ['10.244.1.6', 'fd00:10:244:1::6'] },
  ]
  return buildTables({ ...surroundings, pods, services: ServiceTable.build(services) })
}

/** `pod 4`, `peer 0`, `host`, `world`, or the drop reason's name. */
export function describeVerdict(verdict: Verdict): string {
  const kind = kindOf(verdict)
  if (kind === DROP) return DROP_REASONS[indexOf(verdict)]!.name
  if (kind === ANSWER) return 'neighbour'
  if (kind === DIRECT) return `direct ${indexOf(verdict)}`
  if (kind === TO_POD) return `pod ${indexOf(verdict)}`
  if (kind === TO_PEER) return `peer ${indexOf(verdict)}`
  return verdict === HOST ? 'host' : 'world'
}
