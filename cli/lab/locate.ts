/**
 * Where the API sockets of the lab's nodes are, seen from outside the nodes: the `polder` command asks here which
 * polderd it can talk to when there is none on the machine itself. Reads directories, nothing else.
 */
import { existsSync } from 'node:fs'
import { labOf, nodesOf } from './lab.ts'

/** One entry for each node whose polderd has made its socket; empty where no lab is up. */
export function labSockets(): { node: string; socket: string }[] {
  return nodesOf(labOf())
    .map((node) => ({ node: node.name, socket: `${node.runDir}/polderd.sock` }))
    .filter(({ socket }) => existsSync(socket))
}
