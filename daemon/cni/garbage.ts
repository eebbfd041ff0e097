/**
 * GC: removes every attachment of a network that the runtime does not list as valid, its spooled DEL included. One that
 * fails does not stop the others; all failures are told together.
 *
 * It leaves alone what other networks have, and bare namespaces, which no runtime knows of.
 */
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'
import { CniError, GC_INCOMPLETE } from './cni-error.ts'
import type { Garbage } from './network-config.ts'
import type { Spool } from './spool.ts'

export interface GarbageContext {
  attachments: Attachments
  spool: Spool
  log: Logger
}

export async function collectGarbage(
  { network, valid }: Garbage,
  { attachments, spool, log }: GarbageContext,
): Promise<void> {
  if (valid === undefined) return
  const keep = new Set(valid.map(keyOf))
  const stale = attachments
    .list()
    .filter((each) => each.viaCni === true && each.network === network && !keep.has(keyOf(each)))
  const failures: string[] = []
  await Promise.all(
    stale.map(async ({ containerId, ifName }) => {
      try {
        await attachments.remove(containerId, ifName)
        spool.forget(containerId, ifName)
        log.info({ containerId, ifName, network }, 'removed an attachment that the runtime does not know any more')
      } catch (error) {
        failures.push(
          `${ifName} of container ${containerId}: ${error instanceof Error ? error.message : String(error)}`,
        )
      }
    }),
  )
  if (failures.length === 0) return
  throw new CniError(
    GC_INCOMPLETE,
    `${failures.length} of ${stale.length} stale attachments could not be removed: ${failures.join('; ')}`,
    "the others are gone; see polderd's log, and run GC again",
  )
}

function keyOf({ containerId, ifName }: { containerId: string; ifName: string }): string {
  return `${containerId}@${ifName}`
}
