/**
 * DELs that came while no polderd ran: the shim left an empty file CONTAINERID@IFNAME for each ('@' can be in neither
 * name). polderd listens on its socket first and drains the spool then: a shim that finds it listening asks it.
 *
 * A runtime may attach the same container again after such a DEL, or another one in the same namespace: then the DEL must
 * be done before, never after.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'

export const DEFAULT_SPOOL = '/var/lib/polder/spool'

export interface SpoolOptions {
  folder: string
  attachments: Attachments
  log: Logger
}

export class Spool {
  readonly #folder: string
  readonly #attachments: Attachments
  readonly #log: Logger
  #drained: Promise<unknown> = Promise.resolve()

  constructor({ folder, attachments, log }: SpoolOptions) {
    this.#folder = folder
    this.#attachments = attachments
    this.#log = log
  }

  /** Does all that is spooled. One that fails stays for the next start, and does not stop the others. */
  async drain(): Promise<void> {
    const names = existsSync(this.#folder) ? readdirSync(this.#folder) : []
    this.#drained = Promise.all(names.map((name) => this.#drain(name)))
    await this.#drained
  }

  /** Before an ADD: waits for a drain under way, and does the DEL of this attachment, if one is spooled. */
  async settle(containerId: string, ifName: string): Promise<void> {
    await this.#drained
    await this.#do(containerId, ifName)
  }

  /** The attachment is gone: whatever DEL of it is spooled is done. */
  forget(containerId: string, ifName: string): void {
    rmSync(join(this.#folder, `${containerId}@${ifName}`), { force: true })
  }

  async #do(containerId: string, ifName: string): Promise<void> {
    if (!existsSync(join(this.#folder, `${containerId}@${ifName}`))) return
    await this.#attachments.remove(containerId, ifName)
    this.forget(containerId, ifName)
  }

  async #drain(name: string): Promise<void> {
    const [containerId, ifName] = name.split('@')
    if (!containerId || !ifName) {
      this.#log.warn({ path: join(this.#folder, name) }, 'this is no spooled DEL and is left alone: remove the file')
      return
    }
    try {
      await this.#do(containerId, ifName)
      this.#log.info({ containerId, ifName }, 'did a DEL that came while polderd was down')
    } catch (error) {
      this.#log.error({ containerId, ifName, error }, 'a spooled DEL failed; it stays for the next start')
    }
  }
}
