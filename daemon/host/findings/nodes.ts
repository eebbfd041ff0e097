/** What nodes say of themselves in the cluster and cannot all be true, or does not go together. */
import { isIP } from 'node:net'
import type { Node } from '../../cluster/objects.ts'
import { UNDERLAY_ANNOTATION } from '../../control/surroundings.ts'
import { isReady } from '../../runner/binding.ts'
import { type Check, error, warning } from './check.ts'

/** What VirtualBox gives the first NIC of every VM. */
const VIRTUALBOX_NAT = '10.0.2.15'

/** Where the node is reached; undefined while it has not said so. Always an address: it may end up in a rule. */
export function underlayAddressOf({ metadata, status }: Node): string | undefined {
  const address = metadata.annotations?.[UNDERLAY_ANNOTATION] ?? status?.network.underlayAddress
  return address !== undefined && isIP(address) !== 0 && !address.includes('%') ? address : undefined
}

export const sameUnderlayAddress: Check = ({ nodes }) =>
  sharing(nodes, underlayAddressOf).map(([address, names]) =>
    error(
      'same-underlay-address',
      `the nodes ${names.join(', ')} say that they are reached at the same address, ${address}: their pods do not ` +
        'reach each other',
      address === VIRTUALBOX_NAT
        ? "It is that of VirtualBox's NAT network, the first NIC of every VM: set underlayInterface to the second one."
        : 'Set underlayAddress on each to its own; if one of them is gone, delete it: polder delete node NAME',
    ),
  )

export const natUnderlay: Check = ({ underlay }) =>
  underlay?.address !== VIRTUALBOX_NAT
    ? []
    : [
        warning(
          'nat-underlay',
          `the underlay address ${VIRTUALBOX_NAT} is that of VirtualBox's NAT network: no other VM can reach it`,
          'Set underlayInterface to the interface of the private network that the VMs share.',
        ),
      ]

/** Nodes on one kernel share both ids, and may: they are the nodes of a lab. */
export const sameMachineId: Check = ({ nodes }) =>
  sharing(nodes, ({ status }) => status?.nodeInfo?.machineID)
    .filter(([machineID]) => {
      // What a node said before its machine's last boot says nothing about the machine now.
      const alive = nodes.filter((node) => isReady(node, Date.now()))
      const those = alive.filter(({ status }) => status?.nodeInfo?.machineID === machineID)
      return new Set(those.map(({ status }) => status?.nodeInfo?.bootID)).size > 1
    })
    .map(([, names]) =>
      warning(
        'same-machine-id',
        `the nodes ${names.join(', ')} are different machines with the same /etc/machine-id, as clones of one image ` +
          'are: DHCP may give them one address, and interfaces may get the same MAC',
        'On all but one: rm /etc/machine-id; systemd-machine-id-setup; reboot',
      ),
    )

export const mtuDiffers: Check = ({ nodes }) => {
  const known = nodes.flatMap(({ metadata, status }) =>
    status === undefined ? [] : [{ name: metadata.name, mtuBytes: status.network.mtuBytes }],
  )
  if (new Set(known.map(({ mtuBytes }) => mtuBytes)).size < 2) return []
  return [
    warning(
      'mtu-differs',
      `the nodes' underlays have different MTUs; what is left for pods: ${known.map(({ name, mtuBytes }) => `${name} ${mtuBytes}`).join(', ')}`,
      'Give all underlay interfaces the same MTU; until then larger packets cost a round trip, or are lost on the way.',
    ),
  ]
}

/** Values that several nodes have, with their names. */
function sharing(nodes: readonly Node[], read: (node: Node) => string | undefined): [string, string[]][] {
  const names = new Map<string, string[]>()
  for (const node of nodes) {
    const value = read(node)
    if (value !== undefined) names.set(value, [...(names.get(value) ?? []), node.metadata.name])
  }
  return [...names].filter(([, those]) => those.length > 1)
}
