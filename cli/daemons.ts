/**
 * Which polderds a command talks to: the one of --socket or POLDER_SOCKET; else the one of this machine; else all nodes
 * of a running lab. Any of them answers for the cluster; logs and exec need the one on the pod's node.
 */
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import type { NodeInfo } from '../daemon/api/types.ts'
import { nodeOf, type Pod } from '../daemon/cluster/objects.ts'
import { PolderError } from '../daemon/errors.ts'
import { Client, noDaemon } from './client.ts'

const MACHINE_SOCKET = '/run/polder/polderd.sock'

export interface Daemon {
  client: Client
  info: NodeInfo
}

export interface Daemons {
  /** A polderd that answers. */
  first: Daemon
  /** Every polderd within reach that answers. */
  all: Daemon[]
  /** They are the nodes of a lab on this machine. */
  lab: boolean
}

export async function findDaemons(command: Command): Promise<Daemons> {
  const named = command.optsWithGlobals()['socket'] as string | undefined
  const { sockets, lab } = await locateSockets(named ?? process.env['POLDER_SOCKET'])
  const asked = await Promise.allSettled(sockets.map(ask))
  const all = asked.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const first = all[0]
  if (first !== undefined) return { first, all, lab }
  const failure = asked.find((result) => result.status === 'rejected')
  throw failure?.reason ?? noDaemon('No polderd runs on this machine, and no lab.')
}

async function locateSockets(named: string | undefined): Promise<{ sockets: string[]; lab: boolean }> {
  if (named !== undefined && named !== '') return { sockets: [named], lab: false }
  if (existsSync(MACHINE_SOCKET)) return { sockets: [MACHINE_SOCKET], lab: false }
  const { labSockets } = await import('./lab/locate.ts')
  return { sockets: labSockets().map((entry) => entry.socket), lab: true }
}

async function ask(socket: string): Promise<Daemon> {
  const client = new Client(socket)
  return { client, info: await client.node() }
}

/** The polderd that runs this pod; throws where it is not on a node yet, or on one out of reach. */
export function daemonOf(daemons: Daemons, pod: Pod): Daemon {
  const { name, namespace } = pod.metadata
  const nodeName = nodeOf(pod)
  if (nodeName === undefined) {
    throw new PolderError(
      'not-ready',
      `Pod "${name}" is not on any node yet.`,
      `See what it waits for: polder describe pod ${name} -n ${namespace}`,
    )
  }
  const daemon = daemons.all.find((candidate) => candidate.info.name === nodeName)
  if (daemon !== undefined) return daemon
  throw new PolderError(
    'wrong-node',
    `Pod "${name}" runs on node ${nodeName}, and its polderd is not within reach from here.`,
    `Run this command on node ${nodeName}.`,
  )
}
