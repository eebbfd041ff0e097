/** Starting a daemon inside a lab node and waiting until it answers on its Unix socket, or telling why it does not. */
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../daemon/errors.ts'
import type { LabNode } from './lab.ts'
import { tail } from './log-tail.ts'
import { runsInside, startInside } from './processes.ts'

export interface Daemon {
  name: 'containerd' | 'polderd'
  command: string[]
  /** Tells its command line (arguments end with NUL) from those of other programs in the node. */
  commandLine: RegExp
  /** Its socket, seen from outside the node. */
  socket: string
  log: string
  startTimeoutMs: number
}

/** Resolves when the daemon answers; starts it unless it runs. */
export async function ensureDaemon(node: LabNode, init: number, daemon: Daemon): Promise<void> {
  if (await answers(daemon.socket)) return
  if (!runsInside(init, daemon.commandLine)) await startInside(node, init, daemon.log, daemon.command)
  for (let waitedMs = 0; waitedMs < daemon.startTimeoutMs; waitedMs += 20) {
    if (await answers(daemon.socket)) return
    if (!runsInside(init, daemon.commandLine)) throw notStarted(node, daemon, 'ended at once')
    await delay(20)
  }
  throw notStarted(node, daemon, `did not answer within ${daemon.startTimeoutMs / 1000} s`)
}

function notStarted(node: LabNode, daemon: Daemon, what: string): PolderError {
  return new PolderError(
    'lab-daemon',
    `${daemon.name} of ${node.name} ${what}\n${tail(daemon.log)}`,
    `mend what the log says and run 'polder lab up' again, or 'polder lab down' to remove the lab`,
  )
}

/** Whether a process accepts connections on this Unix socket. */
export function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket)
    connection.on('connect', () => {
      connection.destroy()
      resolve(true)
    })
    connection.on('error', () => resolve(false))
  })
}
