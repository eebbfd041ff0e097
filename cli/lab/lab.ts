/**
 * A lab: several nodes on one machine, each a set of namespaces with its own containerd and polderd. This file holds
 * what a lab is called and where its things lie; it starts and changes nothing.
 *
 *   /run/polder-lab/LAB/NODE/       log files and run-polder/, which the node sees as /run/polder
 *   /var/lib/polder-lab/LAB/        cluster/, the folder store that all nodes share
 *   /var/lib/polder-lab/LAB/NODE/   what the node keeps on disk: see NODE_FOLDERS
 *   network namespaces              polder-LAB (the underlay's bridge) and polder-LAB-NODE
 */
import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { PolderError } from '../../daemon/errors.ts'

export const DEFAULT_LAB = 'lab'
/** The underlay is one /24. */
export const MAX_NODES = 200

/** Directories that every node has for itself, by their name in the lab's data directory. */
export const NODE_FOLDERS: Record<string, string> = {
  containerd: '/var/lib/containerd',
  cni: '/var/lib/cni',
  polder: '/var/lib/polder',
  'etc-cni': '/etc/cni',
  'etc-containerd': '/etc/containerd',
  'etc-polder': '/etc/polder',
  'opt-cni': '/opt/cni',
  'pod-logs': '/var/log/pods',
}

export interface Lab {
  name: string
  stateDir: string
  dataDir: string
  clusterFolder: string
  /** Network namespace of the underlay's bridge. */
  underlayNetns: string
}

export interface LabNode {
  lab: Lab
  name: string
  /** 1 for node1: the last part of its underlay addresses. */
  number: number
  netns: string
  stateDir: string
  dataDir: string
  /** The node's /run/polder, seen from outside. */
  runDir: string
  containerdLog: string
  polderdLog: string
}

/** The checkout that this file belongs to: it is visible at the same path inside the nodes. */
export const CHECKOUT = resolve(import.meta.dirname, '../..')

export function labOf(name: string = process.env['POLDER_LAB'] ?? DEFAULT_LAB): Lab {
  if (!/^(?!.*node[0-9]+$)[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
    throw new PolderError(
      'lab-name',
      `"${name}" cannot be the name of a lab.`,
      'Use up to 32 small letters, digits and hyphens, not ending like node1 (--name, or POLDER_LAB in the environment).',
    )
  }
  const dataDir = `/var/lib/polder-lab/${name}`
  return {
    name,
    stateDir: `/run/polder-lab/${name}`,
    dataDir,
    clusterFolder: `${dataDir}/cluster`,
    underlayNetns: `polder-${name}`,
  }
}

export function nodeOf(lab: Lab, number: number): LabNode {
  const name = `node${number}`
  const stateDir = `${lab.stateDir}/${name}`
  return {
    lab,
    name,
    number,
    netns: `${lab.underlayNetns}-${name}`,
    stateDir,
    dataDir: `${lab.dataDir}/${name}`,
    runDir: `${stateDir}/run-polder`,
    containerdLog: `${stateDir}/containerd.log`,
    polderdLog: `${stateDir}/polderd.log`,
  }
}

/** The nodes that a lab has anything of on this machine, whatever state they are in. */
export function nodesOf(lab: Lab): LabNode[] {
  const numbers = new Set<number>()
  for (const directory of [lab.stateDir, lab.dataDir]) {
    if (!existsSync(directory)) continue
    for (const entry of readdirSync(directory)) {
      const number = /^node([1-9][0-9]*)$/.exec(entry)?.[1]
      if (number !== undefined) numbers.add(Number(number))
    }
  }
  return [...numbers].sort((a, b) => a - b).map((number) => nodeOf(lab, number))
}

export function underlayAddresses(node: LabNode): { ipv4: string; ipv6: string } {
  return { ipv4: `172.30.0.${node.number}`, ipv6: `fd00:30::${node.number.toString(16)}` }
}
