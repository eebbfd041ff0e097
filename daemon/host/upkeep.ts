/**
 * Nothing that others may remove stays removed. Each duty is one idempotent function that brings a part of the host to
 * what it should be and answers what it had to change. Every change is logged and counted.
 *
 * All are called at start, and at each of two turns a second where something has changed since the last one: the kernel
 * says whether (netlink/notices.ts), the duties find out what. Where nothing has, only their glances are, at what the kernel
 * gives no notice of; and every half minute all, whatever was said.
 *
 * A duty that fails says so once for each reason, and all are called at every turn until it does not: the others go on.
 */
import type { Logger } from 'pino'
import type { Mended } from './mended.ts'

const INTERVAL_MS = 500
/** Nothing is known that would need it. */
const WHATEVER_IS_SAID_MS = 30_000

/** Brings to what it should be; answers what it changed. */
type Bring = () => Mended[] | Promise<Mended[]>

export interface Duty {
  bring: Bring
  /** The part of it that nobody is told of when it is undone. Cheap: it is done twice a second. */
  glance?: Bring
}

export interface MendedCount {
  kind: Mended['kind']
  times: number
  /** RFC 3339 */
  lastTime: string
}

export class Upkeep {
  readonly #duties: Duty[]
  readonly #hasChanged: () => boolean
  readonly #log: Logger
  readonly #counts = new Map<Mended['kind'], MendedCount>()
  readonly #failures = new Map<Duty, Error>()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #allDoneAtMs = 0

  /** `hasChanged`: whether there may be something to do, since it was last asked. */
  constructor(duties: Duty[], hasChanged: () => boolean, log: Logger) {
    this.#duties = duties
    this.#hasChanged = hasChanged
    this.#log = log
  }

  /** Resolves once everything is as it should be, or is known to fail. What the start changes does not count as mended. */
  async start(): Promise<void> {
    await this.#doAll(({ kind, what }) => this.#log.info(`the host is set up: ${kind} ${what}`))
    this.#timer = setInterval(() => {
      // One that takes longer is not overtaken.
      this.#round ??= this.#turn().finally(() => {
        this.#round = undefined
      })
    }, INTERVAL_MS)
  }

  #turn(): Promise<void> {
    const tell = (mended: Mended): void => this.#count(mended)
    // Asked each time: what has changed while all were done anyway is then known to be done.
    const hasChanged = this.#hasChanged()
    const isDue = performance.now() - this.#allDoneAtMs >= WHATEVER_IS_SAID_MS
    if (hasChanged || isDue || this.#failures.size > 0) return this.#doAll(tell)
    return this.#go((duty) => duty.glance, tell)
  }

  #doAll(tell: (mended: Mended) => void): Promise<void> {
    this.#allDoneAtMs = performance.now()
    return this.#go((duty) => duty.bring, tell)
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

  async #go(which: (duty: Duty) => Bring | undefined, tell: (mended: Mended) => void): Promise<void> {
    for (const duty of this.#duties) {
      const bring = which(duty)
      if (bring === undefined) continue
      try {
        for (const mended of await bring()) tell(mended)
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
