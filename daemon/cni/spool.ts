/**
 * DELs that came while no polderd ran: the shim left an empty file CONTAINERID@IFNAME for each ('@' can be in neither
 * name). polderd listens on its socket first and drains the spool then: a shim that finds it listening asks it. It looks
 * again now and then, for what failed, and for what a shim kept because polderd took too long to answer.
 *
 * A runtime may attach the same container again after such a DEL, or another one in the same namespace: then the DEL must
 * be done before, never after.
 *
 * The files are not flushed to disk: what they are about ends with the boot anyway, and a DEL of what is not there is
 * harmless. How many there may be is the shim's concern.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'
import { isCode, notWritten } from '../files/atomic-file.ts'

export const DEFAULT_SPOOL = '/var/lib/polder/spool'

const LOOK_INTERVAL_MS = 30_000

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
  /** What went wrong the last time, by file, so that the log hears of it once. */
  #failed = new Map<string, string>()
  #timer: NodeJS.Timeout | undefined

  constructor({ folder, attachments, log }: SpoolOptions) {
    this.#folder = folder
    this.#attachments = attachments
    this.#log = log
  }

  /** Does all that is spooled, now and from now on. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.drain(), LOOK_INTERVAL_MS).unref()
    await this.drain()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#drained
  }

  /** Does all that is spooled. One that fails stays for the next time, and does not stop the others. Never rejects. */
  async drain(): Promise<void> {
    this.#drained = this.#drained.then(() => this.#drainAll())
    await this.#drained
  }

  /** Before an ADD: waits for a drain under way, and does the DEL of this attachment, if one is spooled. */
  async settle(containerId: string, ifName: string): Promise<void> {
    await this.#drained
    await this.#do(containerId, ifName)
  }

  /** The attachment is gone: whatever DEL of it is spooled is done. Throws `not-written`. */
  forget(containerId: string, ifName: string): void {
    const path = join(this.#folder, `${containerId}@${ifName}`)
    try {
      rmSync(path, { force: true })
    } catch (error) {
      throw notWritten(path, error)
    }
  }

  async #drainAll(): Promise<void> {
    const earlier = this.#failed
    this.#failed = new Map()
    await Promise.all(this.#names().map((name) => this.#drain(name, earlier.get(name))))
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder)
    } catch (error) {
      if (!isCode(error, 'ENOENT')) this.#log.error({ path: this.#folder, err: error }, 'the spool cannot be read')
      return []
    }
  }

  async #do(containerId: string, ifName: string): Promise<void> {
    if (!existsSync(join(this.#folder, `${containerId}@${ifName}`))) return
    await this.#attachments.remove(containerId, ifName)
    this.forget(containerId, ifName)
  }

  async #drain(name: string, failedBefore: string | undefined): Promise<void> {
    const path = join(this.#folder, name)
    const [containerId, ifName] = name.split('@')
    try {
      if (!containerId || !ifName) throw new Error('this is no spooled DEL and is left alone: remove the file')
      await this.#do(containerId, ifName)
      this.#log.info({ containerId, ifName }, 'did a DEL that came while polderd was down')
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      this.#failed.set(name, message)
      if (message !== failedBefore) this.#log.error({ path, err: error }, 'a spooled DEL failed; it is tried again')
    }
  }
}
