/** The interface and the port on which nodes reach each other. */

import type { Finding } from '../../api/types.ts'
import type { Config } from '../../config/config.ts'
import { MIN_POD_MTU_BYTES, openUnderlaySockets, tunnelMtuOf, type Underlay } from '../../control/underlay.ts'
import { PolderError } from '../../errors.ts'
import { peekFdStore } from '../../handover/open.ts'
import { closeFd } from '../../nic/nic.ts'
import { receiveOffloadIsOff } from '../receive-offload.ts'
import { type Check, error, info, warning } from './check.ts'

/** While polderd runs; at its start it refuses to. */
export const underlayChanged: Check = ({ underlay, netlink }) => {
  if (underlay === undefined) return []
  const { interface: name, address, family } = underlay
  const link = netlink.link(name)
  const has = link !== undefined && netlink.addresses(link.index).some((one) => one.address === address)
  if (link === undefined || !has) {
    const what = link === undefined ? `the underlay interface ${name} is gone` : `${name} no longer has ${address}`
    return [error('underlay-gone', `${what}: nodes cannot reach each other`, 'Put it back, or restart polderd.')]
  }
  if (!link.up || !link.lowerUp) {
    const what = link.up ? 'has no carrier' : 'is down'
    return [
      error('underlay-down', `the underlay interface ${name} ${what}`, `See its cable, or: ip link set ${name} up`),
    ]
  }
  const left = tunnelMtuOf(link.mtuBytes, family)
  if (left >= MIN_POD_MTU_BYTES) return []
  const wanted = link.mtuBytes - left + MIN_POD_MTU_BYTES
  return [
    error(
      'underlay-mtu',
      `the MTU of ${name} is ${link.mtuBytes}: ${left} bytes are left for pods, IPv6 needs ${MIN_POD_MTU_BYTES}`,
      `Raise it: ip link set ${name} mtu ${wanted} (or more)`,
    ),
  ]
}

/** What arrives comes in pieces of one frame each. */
export const receiveOffloadOff: Check = ({ underlay, config }) => {
  if (underlay === undefined || !receiveOffloadIsOff(underlay.interface)) return []
  const command = `ethtool -K ${underlay.interface} gro on`
  return [
    info(
      'receive-offload-off',
      `generic receive offload of ${underlay.interface} is off: receiving from peers takes about twice the processor time`,
      config.underlayGro === 'check'
        ? `Turn it on (${command}), or let polderd do it (underlayGro: manage).`
        : `Turn it on: ${command}. polderd, when it runs, does so itself.`,
    ),
  ]
}

/** A kernel VXLAN device that is up owns its port on every address; one that is down takes it when polderd is not there. */
export const kernelVxlan: Check = ({ netlink, config }) =>
  netlink.links().flatMap(({ name, up, vxlan }) => {
    if (vxlan === undefined || vxlan.port !== config.vxlanPort) return []
    const whose = `the kernel VXLAN device ${name} (VNI ${vxlan.vni})`
    const remedy = `Delete it if nothing needs it any more (ip link del ${name}), or set vxlanPort to another port on every node.`
    return up
      ? error('kernel-vxlan', `${whose} holds UDP port ${vxlan.port}, which polderd needs`, remedy)
      : warning(
          'kernel-vxlan',
          `${whose} wants UDP port ${vxlan.port}, which is polderd's: only one can have it`,
          remedy,
        )
  })

/** Only where no polderd runs: it would be the one that has it. */
export function portTaken(config: Config, underlay: Underlay | undefined): Finding[] {
  if (underlay === undefined) return []
  const fdStore = peekFdStore(config.socket)
  try {
    const { underlayFd, senderFds } = openUnderlaySockets(underlay, config.vxlanPort, fdStore)
    for (const fd of [underlayFd, ...senderFds]) closeFd(fd)
    return []
  } catch (failure) {
    if (failure instanceof PolderError) return [error(failure.code, failure.message, failure.remedy)]
    throw failure
  } finally {
    fdStore.closeLeftovers()
  }
}
