/**
 * The verbs that act: ADD, DEL, CHECK, GC, STATUS. Each takes a call whose version is known to have it, checks the rest,
 * and resolves to what goes to stdout.
 *
 * polder may stand anywhere in a chain: what an earlier plugin made passes through, and its own interface comes
 * after it. What an attachment is and how it is made is not known here (daemon/attachments).
 */
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'
import { expectedOf, resultOfAdd } from './check.ts'
import { CniError, NOT_AVAILABLE, UNKNOWN_CONTAINER } from './cni-error.ts'
import type { CniEnvironment } from './environment.ts'
import { collectGarbage } from './garbage.ts'
import { garbageOf, type RawConfig, validateConfig } from './network-config.ts'
import { encodeResult } from './result.ts'
import type { Spool } from './spool.ts'
import type { CniVersion } from './versions.ts'

export interface CniOptions {
  attachments: Attachments
  spool: Spool
  /** How many more pods can get an address. */
  addressesLeft: () => number
  /** Whether STATUS fails when that is none. */
  statusFailsWhenFull: boolean
  log: Logger
}

export interface Call {
  environment: CniEnvironment
  config: RawConfig
  version: CniVersion
}

type Verb = (call: Call, options: CniOptions) => Promise<string>

const add: Verb = async ({ environment, config, version }, { attachments, spool }) => {
  environment.require('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME')
  const { containerId, ifName, netns, pod, wantedAddress } = environment
  const network = validateConfig(config)
  const { addresses, hostPorts } = network.wishes
  await spool.settle(containerId, ifName)
  const attachment = await attachments.add({
    ...{ containerId, ifName, netns, network: network.name, viaCni: true },
    wantedHostPorts: hostPorts,
    wantedAddresses: addresses.length > 0 || wantedAddress === undefined ? addresses : [wantedAddress],
    ...(pod && { pod }),
  })
  return encodeResult(version, network, attachment, attachments)
}

const del: Verb = async ({ environment }, { attachments }) => {
  environment.require('CNI_CONTAINERID', 'CNI_IFNAME')
  await attachments.remove(environment.containerId, environment.ifName)
  return ''
}

const check: Verb = async ({ environment, config }, { attachments }) => {
  environment.require('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME')
  const { containerId, ifName, netns } = environment
  const network = validateConfig(config)
  const result = resultOfAdd(network)
  const attachment = attachments.get(containerId, ifName)
  if (attachment === undefined) {
    throw new CniError(UNKNOWN_CONTAINER, `container ${containerId} is not attached as ${ifName}`, 'recreate the pod')
  }
  await attachments.check(containerId, ifName, {
    netns,
    ...expectedOf(result, attachment),
    hostPorts: network.wishes.hostPorts,
  })
  return ''
}

/** polder delegates to no other plugin, but the specification wants the path there. */
const gc: Verb = async ({ environment, config }, options) => {
  environment.require('CNI_PATH')
  await collectGarbage(garbageOf(config), options)
  return ''
}

const status: Verb = async ({ config }, { addressesLeft, statusFailsWhenFull }) => {
  validateConfig(config)
  if (!statusFailsWhenFull || addressesLeft() > 0) return ''
  throw new CniError(
    NOT_AVAILABLE,
    'no address is left on this node for another pod',
    "remove pods, give nodes larger ranges (podCIDRs and others in polderd's configuration), or set statusFailsWhenFull: false",
  )
}

export const VERBS: Readonly<Record<string, Verb>> = { ADD: add, DEL: del, CHECK: check, GC: gc, STATUS: status }
