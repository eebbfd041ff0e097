/** Starting a daemon inside a lab node and waiting until it answers on its Unix socket, or telling why it does not. */
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../daemon/errors.ts'
import type { LabNode } from './lab.ts'
import { tail } from './log-tail.ts'
import { runsInside, startInside } from './processes.ts'

const POLL_MS = 20
/** A process that is about to end still has a command line, and one that is becoming another program has none. */
const ABSENT_MS = 100

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
  const { startTimeoutMs } = daemon
  let started = false
  let absentMs = 0
  for (let waitedMs = 0; waitedMs < startTimeoutMs; waitedMs += POLL_MS) {
    if (await answers(daemon.socket)) return
    absentMs = runsInside(init, daemon.commandLine) ? 0 : absentMs + POLL_MS
    if (absentMs > ABSENT_MS) {
      if (started) throw notStarted(node, daemon, 'ended at once')
      await startInside(node, init, daemon.log, daemon.command)
      started = true
      absentMs = 0
    }
    await delay(POLL_MS)
  }
  throw notStarted(node, daemon, `did not answer within ${startTimeoutMs / 1000} s`)
}

function notStarted(node: LabNode, daemon: Daemon, what: string): PolderError {
  return new PolderError(
    'lab-daemon',
    `${daemon.name} of ${node.name} ${what}\n${tail(daemon.log)}`,
    'Mend what the log says and run polder lab up again, or remove the lab with polder lab down.',
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
