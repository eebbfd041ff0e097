/**
 * A new polderd takes over from the running one, without a gap: the conversation of the two, one JSON object a line over
 * the API's socket (POST /v1/takeover, upgraded to polder-takeover).
 *
 *   successor: hello, all loaded, nothing touched    running one: refused, with a remedy; or it finishes what it has
 *                                                    begun, pauses all but the data path, and lends its descriptors
 *   successor: starts all, its data path held
 *   successor: hold                                  its data path ends its batch, and takes nothing in any more: held
 *   successor: packets flow                          (milliseconds, in which they wait in their queues)
 *   successor: done                                  it ends
 *
 * Until it has read the last word the running one goes on as before as soon as the successor is gone, however that came:
 * the kernel closes the connection of a process that has died only after all of its threads have ended, so that the two
 * data paths never work at once.
 */
import { readlinkSync } from 'node:fs'
import type { Config } from '../config/config.ts'
import { VERSION } from '../version.ts'

/** Raised when the two would not understand each other. */
const PROTOCOL = 1

export const TAKEOVER_PATH = '/v1/takeover'
export const TAKEOVER_UPGRADE = 'polder-takeover'

export interface Hello {
  protocol: number
  version: string
  pid: number
  nodeName: string
  stateDir: string
  clusterFolder: string
  /** Network and process namespace. */
  namespaces: string
  /** NOTIFY_SOCKET, where it is a service. */
  service: string | null
}

export function helloOf({ nodeName, stateDir, clusterFolder }: Config, service: string | undefined): Hello {
  const namespaces = ['net', 'pid'].map((kind) => readlinkSync(`/proc/self/ns/${kind}`)).join(' ')
  const own = { protocol: PROTOCOL, version: VERSION, pid: process.pid }
  return { ...own, nodeName, stateDir, clusterFolder, namespaces, service: service ?? null }
}

/** The running polderd's answer to the hello. */
export interface Loan {
  /** Path of the keeper that has its descriptors for the successor. */
  descriptors: string
  /** How long the service may be silent, where systemd watches. */
  watchdogMs: number | null
}

export interface Refusal {
  code: string
  message: string
  remedy: string
}

/** Why the running polderd `own` does not hand over to `theirs`. */
export function refusalOf(own: Hello, theirs: Hello): Refusal | undefined {
  const refuse = (message: string, remedy: string): Refusal => ({ code: 'takeover-refused', message, remedy })
  if (theirs.protocol !== own.protocol)
    return refuse(
      `polderd ${own.version} (process ${own.pid}) and ${theirs.version} hand over in different ways`,
      'Restart it instead: packets wait meanwhile.',
    )
  for (const setting of ['nodeName', 'stateDir', 'clusterFolder'] as const) {
    if (theirs[setting] === own[setting]) continue
    return refuse(
      `the running polderd has ${setting} ${own[setting]}, the new one ${theirs[setting]}`,
      'Give the new one the same, or stop the running one and start it.',
    )
  }
  if (theirs.namespaces !== own.namespaces)
    return refuse('the running polderd lives in other namespaces', 'Start the new one where that one runs.')
  if (theirs.service !== own.service)
    return refuse(
      own.service === null ? 'the running polderd is no service' : 'the running polderd is a service',
      own.service === null ? 'Stop it, and start the service.' : 'Use: systemctl reload polderd',
    )
  return undefined
}
