/**
 * What is not needed any more after a start, or after tables were replaced: garbage that V8 would keep until it is short
 * of memory, which it never is here; pieces of the C heap that compiling has freed; pages of Node's program that only a
 * start needs. Cleared once nothing has happened for a second, and not more often than every few, as it stops this
 * thread for some 30 ms. The workers collect their own garbage, when no packet comes (worker.ts).
 *
 * It does nothing where Node runs without --expose-gc (scripts/polderd has it), but for the C heap and the program.
 */
import { releaseMemory } from '../nic/nic.ts'

const QUIET_MS = 1000
const APART_MS = 5000
/** By then the workers have collected, too, and used pages for it, as has clearing itself. */
const ONCE_MORE_MS = 2000

export class Leftovers {
  #timer: NodeJS.Timeout | undefined
  #clearedAtMs = Number.NEGATIVE_INFINITY

  /** Something has left something behind. */
  add(): void {
    clearTimeout(this.#timer)
    const waitMs = Math.max(QUIET_MS, this.#clearedAtMs + APART_MS - performance.now())
    this.#timer = setTimeout(() => this.#clear(), waitMs).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #clear(): void {
    globalThis.gc?.({ type: 'major', execution: 'sync' })
    releaseMemory()
    this.#clearedAtMs = performance.now()
    this.#timer = setTimeout(releaseMemory, ONCE_MORE_MS).unref()
  }
}
