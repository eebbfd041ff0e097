/**
 * Nothing that others may remove stays removed. Each duty is one idempotent function that brings a part of the host to
 * what it should be and answers what it had to change; all are called at start and then twice a second, which costs
 * some hundred microseconds: a look through netlink, no subprocess. Every change is logged and counted.
 *
 * A duty that fails says so once for each reason, and is tried again: the others go on.
 */
import type { Logger } from 'pino'
import type { Mended } from './mended.ts'

const INTERVAL_MS = 500

/** Brings to what it should be; answers what it changed. */
export type Duty = () => Mended[] | Promise<Mended[]>

export interface MendedCount {
  kind: Mended['kind']
  times: number
  /** RFC 3339 */
  lastTime: string
}

export class Upkeep {
  readonly #duties: Duty[]
  readonly #log: Logger
  readonly #counts = new Map<Mended['kind'], MendedCount>()
  readonly #failures = new Map<Duty, Error>()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined

  constructor(duties: Duty[], log: Logger) {
    this.#duties = duties
    this.#log = log
  }

  /** Resolves once everything is as it should be, or is known to fail. What the start changes does not count as mended. */
  async start(): Promise<void> {
    await this.#go(({ kind, what }) => this.#log.info(`the host is set up: ${kind} ${what}`))
    this.#timer = setInterval(() => {
      // One that takes longer is not overtaken.
      this.#round ??= this.#go((mended) => this.#count(mended)).finally(() => {
        this.#round = undefined
      })
    }, INTERVAL_MS)
  }

  /** What was put back since the start. */
  counts(): MendedCount[] {
    return [...this.#counts.values()]
  }

  /** Why some duties cannot be done now. */
  failures(): Error[] {
    return [...this.#failures.values()]
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#round
  }

  async #go(tell: (mended: Mended) => void): Promise<void> {
    for (const duty of this.#duties) {
      try {
        for (const mended of await duty()) tell(mended)
        this.#failures.delete(duty)
      } catch (error) {
        this.#fail(duty, error as Error)
      }
    }
  }

  #count(mended: Mended): void {
    const { kind, what } = mended
    this.#log.warn({ mended }, `put back: ${kind} ${what}`)
    const times = (this.#counts.get(kind)?.times ?? 0) + 1
    this.#counts.set(kind, { kind, times, lastTime: new Date().toISOString() })
  }

  #fail(duty: Duty, error: Error): void {
    if (this.#failures.get(duty)?.message !== error.message) {
      const { remedy } = error as { remedy?: string }
      this.#log.error({ remedy, ...(remedy === undefined && { err: error }) }, `upkeep of the host: ${error.message}`)
    }
    this.#failures.set(duty, error)
  }
}
