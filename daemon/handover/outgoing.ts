/**
 * The running polderd's side of a takeover (takeover.ts has the conversation). What "pause" and "resume" mean is known
 * to parts.ts; here is only when.
 */

import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Lines } from './lines.ts'
import { type Hello, type Loan, type Refusal, refusalOf } from './takeover.ts'

/** What a takeover does with the running polderd. */
export interface Running {
  /** Ends what was begun, and begins nothing; packets flow on. */
  pause(): Promise<void>
  /** All goes on as before the pause. */
  resume(): Promise<void>
  /** What the successor is told: the path of the keeper that has descriptors for it, and the watchdog's time. */
  lend(): Loan
  /** The successor will not have them. */
  takeBack(): void
  /** The data path takes nothing in any more. */
  hold(): Promise<void>
  release(): void
  /** The successor does all from now on. */
  leave(): void
}

/** The successor starts all in this time, or is given up. */
const START_PATIENCE_MS = 60_000
/** Between `held` and `done` it only begins to work: no packet is carried meanwhile. */
const LAST_WORD_PATIENCE_MS = 3000
/** What was told that it failed ends by itself; what does not is killed. */
const END_PATIENCE_MS = 1000

export class Outgoing {
  readonly #running: Running
  readonly #own: Hello
  readonly #log: Logger
  #busy = false

  constructor(running: Running, own: Hello, log: Logger) {
    this.#running = running
    this.#own = own
    this.#log = log
  }

  /** Resolves when this polderd has handed over, or goes on. */
  async handOver(connection: Duplex): Promise<void> {
    const lines = new Lines(connection)
    const hello = (await within(lines.next(), START_PATIENCE_MS)) as Hello | undefined
    if (hello === undefined) return lines.end()
    const refused = this.#busy ? UNDER_WAY : refusalOf(this.#own, hello)
    if (refused !== undefined) {
      lines.send({ refused })
      return lines.end()
    }
    this.#busy = true
    this.#log.info({ pid: hello.pid, version: hello.version }, 'another polderd takes over')
    try {
      if (await this.#converse(lines, hello.pid)) {
        this.#running.leave()
        this.#log.info({ pid: hello.pid }, 'another polderd has taken over')
      } else {
        this.#log.error({ pid: hello.pid }, 'the other polderd has not taken over: this one goes on')
      }
    } finally {
      this.#busy = false
      lines.end()
    }
  }

  /** Whether the successor has said its last word; if not, all is here again as it was. */
  async #converse(lines: Lines, pid: number): Promise<boolean> {
    const running = this.#running
    try {
      await running.pause()
      lines.send({ ...running.lend() })
      if (await isSaid(lines, 'hold', START_PATIENCE_MS)) {
        await running.hold()
        lines.send({ held: true })
        if (await isSaid(lines, 'done', LAST_WORD_PATIENCE_MS)) return true
      }
    } catch (error) {
      this.#log.error({ err: error }, 'the takeover failed here')
    }
    await seeGone(lines, pid)
    running.takeBack()
    running.release()
    await running.resume()
    return false
  }
}

const UNDER_WAY: Refusal = {
  code: 'takeover-refused',
  message: 'another takeover is under way',
  remedy: 'Wait until it has ended, then see which polderd runs.',
}

async function isSaid(lines: Lines, word: string, patienceMs: number): Promise<boolean> {
  return (await within(lines.next(), patienceMs))?.[word] === true
}

/** Two data paths must never work: the other one has ended when its end of the connection has. */
async function seeGone(lines: Lines, pid: number): Promise<void> {
  const gone = (async () => {
    while ((await lines.next()) !== undefined);
    return true
  })()
  lines.end()
  while ((await within(gone, END_PATIENCE_MS)) !== true) kill(pid)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function within<T>(answer: Promise<T>, patienceMs: number): Promise<T | undefined> {
  return Promise.race([answer, delay(patienceMs, undefined, { ref: false })])
}
