/**
 * `polder lab down`: removes everything of a lab, whatever is left of it, and nothing of anyone else. What belongs to
 * the lab is told by its name: the mark on the processes, the namespaces, the cgroups and the two directories.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { removeCgroups } from './cgroups.ts'
import { type Lab, type LabNode, nodeOf, nodesOf } from './lab.ts'
import { withLock } from './lock.ts'
import { killNodes } from './processes.ts'
import { requireRoot } from './root.ts'
import { removeBridge, removeNodeNetwork } from './underlay.ts'
import type { Say } from './up.ts'

export async function down(lab: Lab, say: Say): Promise<void> {
  requireRoot('polder lab down')
  await withLock(lab, async () => {
    const nodes = everyNode(lab)
    await killNodes(lab)
    for (const node of nodes) await removeNodeNetwork(node)
    await removeBridge(lab)
    await removeCgroups(lab)
    for (const directory of [lab.stateDir, lab.dataDir]) removeDirectory(directory)
    say(
      nodes.length === 0
        ? `The lab is not up: nothing to do.`
        : `The lab is down: its nodes (${nodes.length}) and all of their pods are gone.`,
    )
  })
}

/** Also the directory of all labs, unless another lab or a mount is there. */
function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true })
  try {
    rmdirSync(dirname(directory))
  } catch {}
}

/** Nodes with directories, and nodes of which only the network namespace is left. */
function everyNode(lab: Lab): LabNode[] {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : []
  const prefix = `${lab.underlayNetns}-node`
  const numbers = names.filter((name) => name.startsWith(prefix)).map((name) => Number(name.slice(prefix.length)))
  const known = nodesOf(lab).map(({ number }) => number)
  return [...new Set([...known, ...numbers.filter(Number.isInteger)])].map((number) => nodeOf(lab, number))
}
