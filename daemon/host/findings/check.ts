/**
 * What a check is: a function that looks at one thing and answers what is wrong with it, in words a person can act on.
 * It changes nothing. Most read the machine through `Inspected`; what took a subprocess to read is read once for all.
 */
import type { Finding } from '../../api/types.ts'
import type { Node } from '../../cluster/objects.ts'
import type { Config } from '../../config/config.ts'
import type { Underlay } from '../../control/underlay.ts'
import type { Netlink } from '../../netlink/netlink.ts'
import type { Ruleset } from './ruleset.ts'

export interface Inspected {
  config: Config
  netlink: Netlink
  /** As chosen; undefined where none can be. */
  underlay: Underlay | undefined
  /** All of the cluster, this one among them; empty where polderd does not run. */
  nodes: readonly Node[]
  ruleset: Ruleset
}

export type Check = (inspected: Inspected) => Finding[]

export function error(id: string, message: string, remedy: string): Finding {
  return { id, severity: 'error', message, remedy }
}

export function warning(id: string, message: string, remedy: string): Finding {
  return { id, severity: 'warning', message, remedy }
}

export function info(id: string, message: string, remedy: string): Finding {
  return { id, severity: 'info', message, remedy }
}
