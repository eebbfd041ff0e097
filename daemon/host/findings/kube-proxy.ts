/**
 * kube-proxy, which serves Services too: its rules choose endpoints before a packet comes to polder0, and stay when it is
 * gone. It is known by the process in this network namespace, by its nftables table `kube-proxy`, by the chain
 * KUBE-SERVICES of iptables (the kubelet's own KUBE-FIREWALL and others are none), and by IPVS' device kube-ipvs0.
 *
 * A polderd that starts beside it refuses to; one that carries packets already goes on, and says it.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { Config } from '../../config/config.ts'
import { PolderError } from '../../errors.ts'
import type { Netlink } from '../../netlink/netlink.ts'
import { type Check, error } from './check.ts'
import { NO_RULES, type Ruleset, readRuleset } from './ruleset.ts'

const PROGRAM = 'kube-proxy'
const IPVS_DEVICE = 'kube-ipvs0'

export interface Found {
  message: string
  remedy: string
}

interface Looked {
  config: Pick<Config, 'services'>
  netlink: Pick<Netlink, 'link'>
  ruleset: Ruleset
}

export const kubeProxy: Check = (inspected) => {
  const found = findKubeProxy(inspected)
  return found === undefined ? [] : [error('kube-proxy', found.message, found.remedy)]
}

/** Undefined where there is nothing of it, or Services are left to it. */
export function findKubeProxy({ config, netlink, ruleset: { chains, legacy } }: Looked): Found | undefined {
  if (config.services === 'off') return undefined
  const chain = chains.find(({ table, name }) => table === PROGRAM || name === 'KUBE-SERVICES')
  const program = [...legacy].find(([, printed]) => printed.includes('KUBE-SERVICES'))?.[0]
  const places = [
    ...(chain === undefined ? [] : [`chain ${chain.name} of table ${chain.family} ${chain.table}`]),
    ...(program === undefined ? [] : [`chain KUBE-SERVICES of ${program}`]),
    ...(netlink.link(IPVS_DEVICE) === undefined ? [] : [`device ${IPVS_DEVICE}`]),
  ]
  const pid = processHere()
  if (places.length === 0 && pid === undefined) return undefined
  const what = [...(pid === undefined ? [] : [`process ${pid}`]), ...places].join(', ')
  const leave = 'or leave Services to it: `services: off`'
  if (pid === undefined) {
    return {
      message: `kube-proxy has left rules on this machine (${what}): they and polder would both serve Services`,
      remedy: `Take them away: kube-proxy --cleanup, or restart the machine; ${leave}`,
    }
  }
  const stop = 'kubectl -n kube-system delete daemonset kube-proxy, or systemctl disable --now kube-proxy'
  return {
    message: `kube-proxy runs on this machine (${what}): it and polder would both serve Services`,
    remedy: `Stop it (${stop}), then take its rules away: kube-proxy --cleanup; ${leave}`,
  }
}

/** Throws `kube-proxy` where it is beside. */
export async function refuseKubeProxy(config: Config, netlink: Netlink): Promise<void> {
  if (config.services === 'off') return
  const found = findKubeProxy({ config, netlink, ruleset: await rulesetIfAny() })
  if (found !== undefined) throw new PolderError('kube-proxy', found.message, found.remedy)
}

/** Where there is no nft, rules of nftables are not seen: the findings say that it is missing. */
export async function rulesetIfAny(): Promise<Ruleset> {
  try {
    return await readRuleset()
  } catch {
    return NO_RULES
  }
}

/** In other network namespaces it is others' affair. */
function processHere(): number | undefined {
  const here = namespaceOf('self')
  const pid = readdirSync('/proc').find(
    (name) => /^\d+$/.test(name) && commandOf(name) === PROGRAM && namespaceOf(name) === here,
  )
  return pid === undefined ? undefined : Number(pid)
}

function commandOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return undefined
  }
}

function namespaceOf(pid: string): string | undefined {
  const found = statSync(`/proc/${pid}/ns/net`, { bigint: true, throwIfNoEntry: false })
  return found && `${found.dev} ${found.ino}`
}
