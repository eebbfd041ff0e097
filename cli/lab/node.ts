/**
 * One lab node: its directories, cgroups, network and namespaces. The node is its first process (catatonit, made by
 * node-init.sh); when that ends, all of the node ends. The daemons inside are started by containerd.ts and polderd.ts.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../daemon/errors.ts'
import { hierarchies, joinCgroups, makeCgroups, removeCgroups } from './cgroups.ts'
import { type LabNode, NODE_FOLDERS } from './lab.ts'
import { tail } from './log-tail.ts'
import { ENVIRONMENT, initOf, killNodes, markOf } from './processes.ts'
import { makeNodeNetwork } from './underlay.ts'

const START_TIMEOUT_MS = 10_000

/** The node's first process, started now unless it runs. */
export async function ensureNode(node: LabNode): Promise<{ init: number; started: boolean }> {
  const running = initOf(node)
  if (running !== undefined) return { init: running, started: false }
  await killNodes(node.lab, node)
  await removeCgroups(node.lab, node)
  makeCgroups(node)
  makeFolders(node)
  await makeNodeNetwork(node)
  return { init: await startNamespaces(node), started: true }
}

function makeFolders(node: LabNode): void {
  mkdirSync(node.runDir, { recursive: true })
  mkdirSync(node.lab.clusterFolder, { recursive: true })
  for (const folder of Object.keys(NODE_FOLDERS)) mkdirSync(`${node.dataDir}/${folder}`, { recursive: true })
}

/**
 * `unshare` stays as the parent of the first process, in the leaf cgroup. The first process steps up to the node's
 * root cgroup for a moment, because a cgroup namespace has for its root the cgroup its maker is in.
 */
async function startNamespaces(node: LabNode): Promise<number> {
  const mounts = [
    ...hierarchies().flatMap(({ mountPoint, options }) => ['cgroup', mountPoint, options]),
    ...Object.entries(NODE_FOLDERS).flatMap(([from, to]) => ['folder', `${node.dataDir}/${from}`, to]),
    ...['folder', node.lab.clusterFolder, '/var/lib/polder/cluster'],
  ]
  const init = ['bash', `${import.meta.dirname}/node-init.sh`, node.name, node.stateDir, ...mounts]
  const firstProcess = joinCgroups(node, ['unshare', '-C', '--', ...init], 'root')
  const unshare = ['unshare', '-m', '-u', '-i', '-p', '-f', '--kill-child', '--propagation', 'slave', '--']
  const command = joinCgroups(node, ['nsenter', `--net=/run/netns/${node.netns}`, '--', ...unshare, ...firstProcess])

  const logFile = `${node.stateDir}/node.log`
  const log = openSync(logFile, 'w')
  const [program, ...args] = command as [string, ...string[]]
  // Detached: a Ctrl-C on the terminal is not for the node.
  const child = spawn(program, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...ENVIRONMENT, ...markOf(node) },
  })
  closeSync(log)
  let failed = false
  child.on('error', () => {
    failed = true
  })
  child.on('exit', () => {
    failed = true
  })
  child.unref()

  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS && !failed; waitedMs += 10) {
    const pid = initOf(node)
    if (pid !== undefined) return pid
    await delay(10)
  }
  throw new PolderError('lab-node', `The namespaces of ${node.name} could not be made\n${tail(logFile)}`, FULL_ROOT)
}

const FULL_ROOT =
  'A lab needs root with the right to make namespaces and mounts: a machine, a VM, or a container that is privileged.'
