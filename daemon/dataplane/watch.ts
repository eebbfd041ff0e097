/**
 * Notices a worker that hangs: it has used the processor for a while and is still in the same breath. A batch takes a
 * few milliseconds at most. Time alone proves nothing: on a full machine, in a stopped process or in a debugger the
 * worker stands still through no fault of its own, and main's own pauses make two looks lie far apart.
 *
 * What it does not notice: a system call that does not return. The addon has none that waits for long but receiving.
 */
import { readFileSync } from 'node:fs'
import { BREATH, THREAD } from './protocol.ts'

const LOOK_EVERY_MS = 40
/** Less than between two looks, so that the second one notices a worker that had a processor to itself. */
const HUNG_CPU_MS = 30

export class Watch {
  readonly #control: Int32Array
  readonly #hung: () => void
  readonly #timer: NodeJS.Timeout
  /** The breath that was on at the last look, 0 for none, and how much the worker had worked at the first look at it. */
  #breath = 0
  #cpuMs = 0

  /** Calls `hung` once for a worker. It keeps no process alive. */
  constructor(control: Int32Array, hung: () => void) {
    this.#control = control
    this.#hung = hung
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const breath = Atomics.load(this.#control, BREATH)
    const thread = Atomics.load(this.#control, THREAD)
    if ((breath & 1) === 0 || thread === 0) {
      this.#breath = 0
      return
    }
    const cpuMs = cpuTimeMs(thread)
    if (breath !== this.#breath) {
      this.#breath = breath
      this.#cpuMs = cpuMs
    } else if (cpuMs - this.#cpuMs > HUNG_CPU_MS) {
      Atomics.store(this.#control, THREAD, 0)
      this.#hung()
    }
  }
}

/** What a thread of this process has used of a processor; of one that has ended, 0. */
function cpuTimeMs(thread: number): number {
  try {
    return Number(readFileSync(`/proc/self/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1e6
  } catch {
    return 0
  }
}
