/**
 * All checks, in the order in which their findings are read. One that fails itself is a finding too: the others go on.
 */
import type { Finding } from '../../api/types.ts'
import type { Node } from '../../cluster/objects.ts'
import type { Config } from '../../config/config.ts'
import { chooseUnderlay, type Underlay } from '../../control/underlay.ts'
import { PolderError } from '../../errors.ts'
import { Netlink } from '../../netlink/netlink.ts'
import { refuseWhileRunning } from '../running.ts'
import { type Check, error, type Inspected, warning } from './check.ts'
import { forwardDrop } from './firewall.ts'
import { kubeProxy } from './kube-proxy.ts'
import { mtuDiffers, natUnderlay, sameMachineId, sameUnderlayAddress } from './nodes.ts'
import { forwarding, rangeOverlap, reversePath, routerAdvertisements } from './routing.ts'
import { NO_RULES, type Ruleset, readRuleset } from './ruleset.ts'
import { cniShadowed, tunMissing } from './software.ts'
import { kernelVxlan, portTaken, receiveOffloadOff, underlayChanged } from './underlay.ts'

const CHECKS: Check[] = [
  tunMissing,
  underlayChanged,
  natUnderlay,
  kernelVxlan,
  receiveOffloadOff,
  sameUnderlayAddress,
  sameMachineId,
  mtuDiffers,
  rangeOverlap,
  reversePath,
  forwarding,
  routerAdvertisements,
  forwardDrop,
  kubeProxy,
  cniShadowed,
]

/** What is wrong on this machine and, seen from it, in the cluster. */
export async function survey(inspected: Omit<Inspected, 'ruleset'>): Promise<Finding[]> {
  const findings: Finding[] = []
  let ruleset: Ruleset = NO_RULES
  try {
    ruleset = await readRuleset()
  } catch (failure) {
    findings.push(findingOf(failure))
  }
  for (const check of CHECKS) findings.push(...attempt(() => check({ ...inspected, ruleset })))
  return findings
}

/** As survey(), where no polderd runs: whether one could. */
export async function surveyAlone(config: Config): Promise<Finding[]> {
  await refuseWhileRunning(config.socket, 'Ask it: polder doctor')
  using netlink = new Netlink()
  let underlay: Underlay | undefined
  const findings = attempt(() => {
    underlay = chooseUnderlay(netlink, config)
    return []
  })
  findings.push(...attempt(() => portTaken(config, underlay)))
  const nodes: Node[] = []
  return [...findings, ...(await survey({ config, netlink, underlay, nodes }))]
}

function attempt(check: () => Finding[]): Finding[] {
  try {
    return check()
  } catch (failure) {
    return [findingOf(failure)]
  }
}

/** What could not be done is wrong, in its own words. */
export function findingOf(failure: unknown): Finding {
  if (failure instanceof PolderError) return error(failure.code, failure.message, failure.remedy)
  const message = failure instanceof Error ? failure.message : String(failure)
  return warning('check-failed', `a check could not be made: ${message}`, "See polderd's log.")
}
