/**
 * The workers: one carries the packets, one stands by, loaded and waiting. When the first dies, or is ended because it
 * hangs, the other goes on where it stopped: same descriptors, same tables, same batch. The packet that was at hand is
 * tried once more; one that kills twice is kept in a file, counted as `poison`, and skipped.
 *
 *   on duty ──dies──► look at the packet at hand ──► next on duty (loaded already) ──► a new one stands by
 *
 * Each death that got nothing done makes the next one wait longer. It does not know what the tables say.
 */
import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import { DROP_POISON } from '../../packet/path/drop-reason.ts'
import { PORT_HOST, PORT_UNDERLAY, RX_PORT, RX_WORDS } from '../nic/descriptors.ts'
import { signalEvent } from '../nic/nic.ts'
import { AT_BYTES, AT_DESCRIPTOR, ORIGIN, skipPacketAtHand, TRIES } from './batch-memory.ts'
import { keepPacketAtHand } from './poison.ts'
import { BREATH, COUNT_DROPS, NOBODY, ON_DUTY, STOP, THREAD, type WorkerStart, type WorkerState } from './protocol.ts'
import { QUARANTINE_MS, Quarantine } from './quarantine.ts'
import { Watch } from './watch.ts'

const SHORTEST_DELAY_MS = 10
const LONGEST_DELAY_MS = 1000
/** Loading it takes a processor for a moment: not while polderd itself starts. */
const STANDBY_AFTER_MS = 1000

export interface CrewOptions {
  start: WorkerStart
  /** Where it is counted that a packet killed. */
  counters: () => Float64Array
  /** Where packets are kept that killed the worker. */
  poisonFolder: string
  /** The state that packets are decided by, and after it the newest, where that is another. */
  states: () => WorkerState[]
  /** Called when one stands by: what its loading took is not needed any more. */
  standsBy: () => void
  log: Logger
}

export class Crew {
  readonly #options: CrewOptions
  readonly #log: Logger
  readonly #watch: Watch
  readonly #quarantine: Quarantine
  readonly #endAll = (): void => {
    const { control, eventFd } = this.#options.start
    Atomics.store(control, STOP, 1)
    // One that is about to wait for its turn would not hear of it.
    Atomics.store(control, ON_DUTY, NOBODY)
    Atomics.notify(control, ON_DUTY)
    signalEvent(eventFd)
  }
  readonly #ended = new Map<Worker, Promise<void>>()
  #onDuty: Worker | undefined
  #standby: Worker | undefined
  /** Whether a death is made good: not before the first worker works, and not once all are to end. */
  #replaces = false
  #cause: unknown
  /** Where the last death happened, and how many there were with nothing done in between. */
  #lastDeath = ''
  #fruitless = 0

  /** The first worker is loaded at once, and stands by. */
  constructor(options: CrewOptions) {
    this.#options = options
    this.#log = options.log
    this.#quarantine = new Quarantine(options.start.memory.quarantine)
    this.#watch = new Watch(options.start.control, options.start.memory.progress, () => {
      this.#log.error('the data-path worker hangs: it is ended')
      void this.#onDuty?.terminate()
    })
    // Node waits for its threads when it exits, and these wait for packets.
    process.once('exit', this.#endAll)
    this.#standby = this.#spawn()
  }

  /** The first worker takes up its duty. Rejects with the cause if it dies before `working` resolves, or has died. */
  async begin(working: () => Promise<void>): Promise<void> {
    const first = this.#standby
    if (first === undefined) throw this.#cause
    const died = new Promise<never>((_, reject) => first.once('error', reject))
    this.#standby = undefined
    this.#takeDuty(first)
    await Promise.race([working(), died])
    this.#replaces = true
    setTimeout(() => this.#prepareNext(), STANDBY_AFTER_MS).unref()
  }

  /** The newest state goes to the worker on duty; where there is none at this moment, the next one gets it anyway. */
  post(state: WorkerState): void {
    this.#onDuty?.postMessage(state)
    signalEvent(this.#options.start.eventFd)
  }

  async stop(): Promise<void> {
    this.#replaces = false
    process.off('exit', this.#endAll)
    this.#endAll()
    await Promise.all(this.#ended.values())
    this.#watch.stop()
  }

  #spawn(): Worker {
    const name = 'polder-dataplane'
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { name, workerData: this.#options.start })
    worker.on('error', (error) => {
      this.#cause = error
      this.#log.error({ err: error }, 'the data-path worker failed')
    })
    worker.once('message', () => this.#options.standsBy())
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
    this.#ended.set(worker, ended)
    void ended.then(() => this.#exited(worker))
    return worker
  }

  #prepareNext(): void {
    if (this.#replaces) this.#standby ??= this.#spawn()
  }

  #takeDuty(worker: Worker): void {
    const { start, states } = this.#options
    this.#onDuty = worker
    for (const state of states()) worker.postMessage(state)
    Atomics.store(start.control, ON_DUTY, worker.threadId)
    Atomics.notify(start.control, ON_DUTY)
    // Where there is more than one state, it looks for the second.
    signalEvent(start.eventFd)
  }

  #exited(worker: Worker): void {
    this.#ended.delete(worker)
    if (worker === this.#standby) this.#standby = undefined
    if (worker !== this.#onDuty) return
    this.#onDuty = undefined
    Atomics.store(this.#options.start.control, THREAD, 0)
    if (!this.#replaces) return
    this.#judgePacketAtHand()
    const delayMs = this.#delayMs()
    this.#log.error({ delayMs }, 'the data-path worker ended: another goes on where it stopped')
    if (delayMs === 0) this.#replace()
    else setTimeout(() => this.#replace(), delayMs)
  }

  #replace(): void {
    if (!this.#replaces) return
    const next = this.#standby ?? this.#spawn()
    this.#standby = undefined
    this.#takeDuty(next)
    this.#prepareNext()
  }

  #judgePacketAtHand(): void {
    const { start, counters, poisonFolder } = this.#options
    const { memory } = start
    if (memory.progress[TRIES]! < 2) return
    const port = memory.rx[memory.progress[AT_DESCRIPTOR]! * RX_WORDS + RX_PORT]!
    const from = port === PORT_HOST ? 'the host' : port === PORT_UNDERLAY ? 'a peer' : `the pod at port ${port}`
    try {
      const file = keepPacketAtHand(memory, poisonFolder, Date.now())
      this.#log.error({ file, from }, 'a packet that killed the data-path worker twice is kept, and skipped')
    } catch (error) {
      this.#log.error({ err: error, from }, 'a packet that killed the data-path worker twice is skipped; not kept')
    }
    counters()[COUNT_DROPS + DROP_POISON]!++
    if (this.#quarantine.killed(memory.progress[ORIGIN]!, performance.now())) {
      const message =
        'packets from there kill the data-path worker again and again: all from there are dropped for a while'
      this.#log.error({ from, forMs: QUARANTINE_MS }, message)
    }
    skipPacketAtHand(memory)
  }

  /** 0, unless workers die with nothing done. */
  #delayMs(): number {
    const { control, memory } = this.#options.start
    const { progress } = memory
    const words = [control[BREATH], progress[AT_DESCRIPTOR], progress[AT_BYTES], progress[TRIES]]
    const death = words.join(' ')
    this.#fruitless = death === this.#lastDeath ? this.#fruitless + 1 : 0
    this.#lastDeath = death
    return this.#fruitless === 0 ? 0 : Math.min(LONGEST_DELAY_MS, SHORTEST_DELAY_MS * 2 ** this.#fruitless)
  }
}
