/**
 * Notices a worker that hangs: it has used the processor for a while and is still at the same packet, which takes it less
 * than a microsecond. (Sending a batch may take tens of milliseconds: much of what the kernel does for the receivers is
 * done there.) Time alone proves nothing: on a full machine, in a stopped process or in a debugger the
 * worker stands still through no fault of its own, and main's own pauses make two looks lie far apart.
 *
 * Looking costs 0.15 % of a processor. Where nothing happens for a while it sleeps, and the next packet or new state
 * wakes it. Asleep it looks up now and then: what the worker does without either could hang as well.
 *
 * What it does not notice: a system call that does not return. The addon has none that waits for long but receiving.
 */
import { readFileSync } from 'node:fs'
import { AT_BYTES, AT_DESCRIPTOR, TRIES } from './batch-memory.ts'
import { BREATH, THREAD, WATCH_SLEEPS } from './protocol.ts'

const LOOK_EVERY_MS = 40
/** Less than between two looks, so that the second one notices a worker that had a processor to itself. */
const HUNG_CPU_MS = 30
/** The same where no packet is at hand: new tables are adopted, or a batch is sent. */
const HUNG_ELSEWHERE_CPU_MS = 500
/** Less than the worker's second between two ticks. */
const SLEEP_AFTER_LOOKS = 10
const LOOK_ASLEEP_EVERY_MS = 2000

export class Watch {
  readonly #control: Int32Array
  readonly #progress: Int32Array
  readonly #hung: () => void
  #timer: NodeJS.Timeout | undefined
  #stopped = false
  #asleep = false
  /** What the last look saw: the breath, odd during a batch, and how far the batch has come. */
  #breath = 0
  #descriptor = 0
  #bytes = 0
  /** How much the worker had worked at the first look that saw the same. */
  #cpuMs = 0
  /** How many looks saw the worker in the same wait. */
  #quietLooks = 0

  /** Calls `hung` once for a worker. It keeps no process alive. */
  constructor(control: Int32Array, progress: Int32Array, hung: () => void) {
    this.#control = control
    this.#progress = progress
    this.#hung = hung
    this.#wake()
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    Atomics.notify(this.#control, WATCH_SLEEPS)
  }

  #wake(): void {
    if (this.#stopped) return
    this.#asleep = false
    this.#quietLooks = 0
    this.#lookEvery(LOOK_EVERY_MS)
  }

  #lookEvery(intervalMs: number): void {
    clearInterval(this.#timer)
    this.#timer = setInterval(() => this.#look(), intervalMs).unref()
  }

  #look(): void {
    const breath = Atomics.load(this.#control, BREATH)
    const thread = Atomics.load(this.#control, THREAD)
    const descriptor = this.#progress[AT_DESCRIPTOR]!
    const bytes = this.#progress[AT_BYTES]!
    const same = breath === this.#breath && descriptor === this.#descriptor && bytes === this.#bytes
    this.#breath = breath
    this.#descriptor = descriptor
    this.#bytes = bytes
    if ((breath & 1) === 0) this.#rest(same)
    else if (thread === 0) this.#breath = 0
    else if (!same) this.#cpuMs = cpuTimeMs(thread)
    else if (cpuTimeMs(thread) - this.#cpuMs > (this.#progress[TRIES]! > 0 ? HUNG_CPU_MS : HUNG_ELSEWHERE_CPU_MS)) {
      Atomics.store(this.#control, THREAD, 0)
      this.#hung()
    }
  }

  #rest(same: boolean): void {
    this.#quietLooks = same ? this.#quietLooks + 1 : 0
    if (this.#asleep || this.#quietLooks < SLEEP_AFTER_LOOKS) return
    Atomics.store(this.#control, WATCH_SLEEPS, 1)
    // A batch that began before this one was said would wake nobody.
    if (Atomics.load(this.#control, BREATH) !== this.#breath) return
    this.#asleep = true
    this.#lookEvery(LOOK_ASLEEP_EVERY_MS)
    const woken = Atomics.waitAsync(this.#control, WATCH_SLEEPS, 1)
    if (woken.async) void woken.value.then(() => this.#wake())
    else this.#wake()
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
