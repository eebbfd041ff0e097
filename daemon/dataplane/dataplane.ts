/**
 * Main's side of the data path: owns the worker, the state it works by, and every descriptor. A change is complete
 * when the worker has acknowledged it: only then does `publish` resolve, and only then is a removed pod's descriptor
 * closed. Should the worker die, the next one gets the same state on the same descriptors.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import type { PodEntry } from '../../packet/tables/pods.ts'
import { buildTables, type NetworkState } from '../../packet/tables/tables.ts'
import type { Counters } from '../api/types.ts'
import { PolderError } from '../errors.ts'
import { MAX_PORTS, PORT_FIRST_POD, PORT_HOST } from '../nic/descriptors.ts'
import { closeFd, openEvent, signalEvent } from '../nic/nic.ts'
import type { PodPorts } from './pod-ports.ts'
import {
  ACKNOWLEDGED,
  CONTROL_WORDS,
  COUNT_ANSWERS,
  COUNT_BYTES,
  COUNT_DROPS,
  COUNT_PACKETS,
  COUNTER_SLOTS,
  ENTRANCES,
  GENERATION,
  STOP,
  type WorkerStart,
  type WorkerState,
} from './protocol.ts'

/** What the data path works by, but for the pods, which are known from their ports. */
export type Surroundings = Omit<NetworkState, 'pods'>

export interface DataPlaneOptions {
  hostFd: number
  underlayFd: number
  /** Sockets to send from; a flow's hash chooses among them. */
  senderFds: number[]
  surroundings: Surroundings
  log: Logger
}

const RESPAWN_DELAY_MS = 20

export class DataPlane implements PodPorts {
  readonly #options: DataPlaneOptions
  readonly #log: Logger
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4))
  readonly #counters = new Float64Array(new SharedArrayBuffer(COUNTER_SLOTS * 8))
  readonly #eventFd = openEvent()
  readonly #pods = new Map<number, { fd: number; addresses: string[] }>()
  #hostFd: number
  #surroundings: Surroundings
  #worker: Worker | undefined
  readonly #endWorker = (): void => {
    Atomics.store(this.#control, STOP, 1)
    signalEvent(this.#eventFd)
  }
  #started = false
  #stopping = false

  private constructor(options: DataPlaneOptions) {
    this.#options = options
    this.#hostFd = options.hostFd
    this.#surroundings = options.surroundings
    this.#log = options.log
  }

  /** Resolves once packets flow. The descriptors belong to the data plane from then on. */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    const plane = new DataPlane(options)
    // Node waits for its threads when it exits, and this one waits for packets.
    process.once('exit', plane.#endWorker)
    const generation = plane.#spawn()
    // Later deaths are made good; a worker that cannot even start would die for ever.
    const died = new Promise<never>((_, reject) => {
      plane.#worker!.once('error', (error) => reject(cannotStart(error)))
    })
    await Promise.race([plane.#acknowledged(generation), died])
    plane.#started = true
    return plane
  }

  async addPod(fd: number, addresses: string[]): Promise<number> {
    let port = PORT_FIRST_POD
    while (this.#pods.has(port)) port++
    if (port >= MAX_PORTS) {
      throw new PolderError('too-many-pods', `this node already has ${this.#pods.size} pods`, 'Use another node.')
    }
    this.#pods.set(port, { fd, addresses })
    try {
      await this.#publish()
      return port
    } catch (error) {
      this.#pods.delete(port)
      throw error
    }
  }

  async removePod(port: number): Promise<void> {
    const pod = this.#pods.get(port)
    if (pod === undefined) return
    this.#pods.delete(port)
    await this.#publish()
    closeFd(pod.fd)
  }

  /** The host's device was made anew: packets go through this descriptor from now on. */
  async replaceHost(fd: number): Promise<void> {
    const gone = this.#hostFd
    this.#hostFd = fd
    await this.#publish()
    closeFd(gone)
  }

  /** New peers, routes, MTU: resolves once every packet is decided by them. */
  async setSurroundings(surroundings: Surroundings): Promise<void> {
    this.#surroundings = surroundings
    await this.#publish()
  }

  counters(): Counters {
    const value = (slot: number): number => this.#counters[slot]!
    return {
      entrances: ENTRANCES.map((name, i) => ({
        name,
        packets: value(COUNT_PACKETS + i),
        bytes: value(COUNT_BYTES + i),
      })),
      drops: DROP_REASONS.map(({ name, text }, i) => ({ reason: name, text, packets: value(COUNT_DROPS + i) })).filter(
        ({ packets }) => packets > 0,
      ),
      answers: value(COUNT_ANSWERS),
    }
  }

  /** Ends the worker and closes every descriptor. Devices are persistent: they stay, and so do the pods' addresses. */
  async stop(): Promise<void> {
    this.#stopping = true
    process.off('exit', this.#endWorker)
    this.#endWorker()
    const worker = this.#worker
    if (worker !== undefined) await once(worker, 'exit')
    const { underlayFd, senderFds } = this.#options
    const pods = [...this.#pods.values()].map(({ fd }) => fd)
    for (const fd of [this.#hostFd, underlayFd, ...senderFds, ...pods, this.#eventFd]) closeFd(fd)
  }

  /** Answers the generation that the new worker begins with. */
  #spawn(): number {
    const { underlayFd, senderFds } = this.#options
    const workerData: WorkerStart = {
      control: this.#control,
      counters: this.#counters,
      underlayFd,
      senderFds,
      eventFd: this.#eventFd,
      state: this.#nextState(),
    }
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { name: 'polder-dataplane', workerData })
    worker.on('error', (error) => this.#log.error({ err: error }, 'the data-path worker failed'))
    worker.on('exit', () => {
      this.#worker = undefined
      if (this.#stopping || !this.#started) return
      this.#log.error('the data-path worker ended: starting another on the same descriptors and tables')
      setTimeout(() => {
        if (!this.#stopping) this.#spawn()
      }, RESPAWN_DELAY_MS)
    })
    this.#worker = worker
    return workerData.state.generation
  }

  /** Posts the whole state as the next generation and waits until the worker works by it, or by a later one. */
  async #publish(): Promise<void> {
    const state = this.#nextState()
    this.#worker?.postMessage(state)
    signalEvent(this.#eventFd)
    await this.#acknowledged(state.generation)
  }

  #nextState(): WorkerState {
    const pods: PodEntry[] = [...this.#pods].map(([port, { addresses }]) => ({ port, addresses }))
    const podPorts = [...this.#pods].map(([port, { fd }]): [number, number] => [port, fd])
    const generation = Atomics.add(this.#control, GENERATION, 1) + 1
    return {
      generation,
      tables: buildTables({ ...this.#surroundings, pods }),
      ports: [[PORT_HOST, this.#hostFd], ...podPorts],
    }
  }

  async #acknowledged(generation: number): Promise<void> {
    for (;;) {
      const acknowledged = Atomics.load(this.#control, ACKNOWLEDGED)
      if (acknowledged >= generation) return
      const wait = Atomics.waitAsync(this.#control, ACKNOWLEDGED, acknowledged)
      if (wait.async) await wait.value
    }
  }
}

function cannotStart(cause: Error): PolderError {
  return new PolderError(
    'dataplane-failed',
    `the data-path worker cannot start: ${cause.message}`,
    'Run ./scripts/build, in case the native addon is older than the rest.',
  )
}
