/**
 * Main's side of the data path: owns the workers, the state they work by, and every descriptor. A change is complete
 * when the worker has acknowledged it: only then does `publish` resolve, and only then is a removed pod's descriptor
 * closed. Should the worker die, the next one gets the same state on the same descriptors (crew.ts).
 */
import type { Logger } from 'pino'
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import { type FlowRecord, type FlowTotals, flowTotals, listFlows } from '../../packet/tables/flow-list.ts'
import type { PodEntry } from '../../packet/tables/pods.ts'
import type { ServiceBuffers } from '../../packet/tables/service-port.ts'
import { ServiceTable } from '../../packet/tables/services.ts'
import { buildTables, type NetworkState } from '../../packet/tables/tables.ts'
import type { Counters } from '../api/types.ts'
import { PolderError } from '../errors.ts'
import { MAX_PORTS, PORT_FIRST_POD, PORT_HOST, PORT_UNDERLAY } from '../nic/descriptors.ts'
import { closeFd, openEvent, signalEvent, socketDrops } from '../nic/nic.ts'
import { createBatchMemory } from './batch-memory.ts'
import { type CounterFileOptions, prepareCounterFile } from './counter-file.ts'
import { Crew } from './crew.ts'
import { type FlowFileOptions, monotonicMs, prepareFlowFile } from './flow-file.ts'
import { Leftovers } from './leftovers.ts'
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
  HELD,
  HOLD,
  THREAD,
  type WorkerState,
} from './protocol.ts'

/** What the data path works by, but for services, and the pods, which are known from their ports. */
export type Surroundings = Omit<NetworkState, 'pods' | 'services'>

/** The node's sockets towards its peers. */
export interface PeerSockets {
  /** The one that receives. */
  underlayFd: number
  /** Those to send from; a flow's hash chooses among them. */
  senderFds: number[]
}

export interface DataPlaneOptions {
  /** Where packets are kept that killed the worker. */
  poisonFolder: string
  flows: FlowFileOptions
  counters: CounterFileOptions
  log: Logger
}

/** What packets go through at first, and by what. */
export interface DataPlaneStart extends PeerSockets {
  hostFd: number
  surroundings: Surroundings
  services: ServiceBuffers
}

const NO_FLOWS: FlowTotals = { flows: 0, capacity: 0, opened: 0, expired: 0, evicted: 0, refused: 0 }

export class DataPlane implements PodPorts {
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4))
  readonly #eventFd = openEvent()
  readonly #pods = new Map<number, { fd: number; addresses: string[] }>()
  readonly #crew: Crew
  readonly #flows: FlowFileOptions
  readonly #leftovers = new Leftovers()
  readonly #counterFile: CounterFileOptions
  /** Once packets have flowed. */
  #flowMemory: ArrayBuffer | undefined
  /** Those of the file, once packets have flowed. */
  #counters: Float64Array = new Float64Array(COUNTER_SLOTS)
  /** The state that the worker works by, and those after it. */
  #states: WorkerState[] = []
  #sockets: PeerSockets = { underlayFd: -1, senderFds: [] }
  #publishing: Promise<void> = Promise.resolve()
  #nextPublish: Promise<void> | undefined
  #hostFd = -1
  #surroundings!: Surroundings
  #services = ServiceTable.build([])
  #holds = 0
  /** Of the first worker: resolves once it works. */
  #begun: Promise<void> | undefined
  #adopted: (() => void) | undefined
  #adoptedTimer: NodeJS.Timeout | undefined

  /** The worker is loaded meanwhile; nothing is carried before start(). */
  constructor({ poisonFolder, flows, counters, log }: DataPlaneOptions) {
    this.#flows = flows
    this.#counterFile = counters
    const [control, memory, eventFd] = [this.#control, createBatchMemory(), this.#eventFd]
    this.#crew = new Crew({
      start: { control, counterFile: counters.path, memory, eventFd, flowFile: flows.path },
      counters: () => this.#counters,
      poisonFolder,
      states: () => this.#currentStates(),
      standsBy: () => this.#leftovers.add(),
      log,
    })
  }

  /**
   * Resolves once the worker has what it works by. It is held: packets flow after release(), when every pod is known, so
   * that none that waited is refused. The descriptors belong to the data plane from then on.
   */
  async start(start: DataPlaneStart): Promise<void> {
    if (this.#begun === undefined) {
      this.#take(start)
      Atomics.store(this.#control, HOLD, ++this.#holds)
      return this.#begin()
    }
    await this.#begun
    const before = this.#ownFds()
    this.#take(start)
    await this.#publish()
    for (const fd of before.filter((fd) => !this.#ownFds().includes(fd))) closeFd(fd)
  }

  /** Packets flow at once, in place of release(): by what an earlier polderd worked by. start() follows, and adds to it. */
  resume(start: DataPlaneStart, pods: { fd: number; addresses: string[] }[]): void {
    this.#take(start)
    for (const [i, pod] of pods.entries()) this.#pods.set(PORT_FIRST_POD + i, pod)
    this.#prepareFiles()
    // Who calls start() is told of a failure.
    this.#begin().catch(() => {})
  }

  #take({ hostFd, underlayFd, senderFds, surroundings, services }: DataPlaneStart): void {
    this.#hostFd = hostFd
    this.#sockets = { underlayFd, senderFds }
    this.#surroundings = surroundings
    this.#services = services
  }

  #begin(): Promise<void> {
    const { generation } = this.#nextState()
    // Later deaths are made good; a worker that cannot even start would die for ever.
    this.#begun = this.#crew
      .begin(() => this.#acknowledged(generation))
      .catch((error: Error) => {
        throw cannotStart(error)
      })
    return this.#begun
  }

  /** Those of the node itself. */
  #ownFds(): number[] {
    return [this.#hostFd, this.#sockets.underlayFd, ...this.#sockets.senderFds]
  }

  async addPod(fd: number, addresses: string[]): Promise<number> {
    const resumed = this.#portOf(fd)
    if (resumed !== undefined) return this.#replacePod(resumed, { fd, addresses })
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

  #portOf(fd: number): number | undefined {
    for (const [port, pod] of this.#pods) if (pod.fd === fd) return port
    return undefined
  }

  async #replacePod(port: number, pod: { fd: number; addresses: string[] }): Promise<number> {
    const before = this.#pods.get(port)!.addresses
    this.#pods.set(port, pod)
    if (before.join() !== pod.addresses.join()) await this.#publish()
    return port
  }

  /** Closes what an earlier polderd left and nobody wants, be it in use since resume(). */
  discard(fd: number): void {
    const port = this.#portOf(fd)
    if (port !== undefined) void this.removePod(port)
    // The node's own are closed when start() brings others.
    else if (!this.#ownFds().includes(fd)) closeFd(fd)
  }

  /** Calls `told` with what the data path works by: now, and `delayMs` after a change. */
  onAdopted(
    delayMs: number,
    told: (
      works: Pick<DataPlaneStart, 'surroundings' | 'services'>,
      pods: { fd: number; addresses: string[] }[],
    ) => void,
  ): void {
    this.#adopted = () => {
      this.#adoptedTimer ??= setTimeout(() => {
        this.#adoptedTimer = undefined
        told({ surroundings: this.#surroundings, services: this.#services }, [...this.#pods.values()])
      }, delayMs).unref()
    }
    this.#adopted()
  }

  async removePod(port: number): Promise<void> {
    const pod = this.#pods.get(port)
    if (pod === undefined) return
    this.#pods.delete(port)
    await this.#publish()
    closeFd(pod.fd)
  }

  /** Whether there is a worker at work, be it held. */
  get works(): boolean {
    return Atomics.load(this.#control, THREAD) !== 0
  }

  /** No worker writes them at this moment. */
  #prepareFiles(): void {
    this.#flowMemory = prepareFlowFile(this.#flows)
    this.#counters = prepareCounterFile(this.#counterFile)
  }

  /** Packets flow. */
  release(): void {
    if (Atomics.load(this.#control, HOLD) === 0) return
    this.#prepareFiles()
    Atomics.store(this.#control, HOLD, 0)
    Atomics.notify(this.#control, HOLD)
  }

  /** Resolves once all that was taken in is sent and no packet is taken in any more: they wait in their queues. */
  async hold(): Promise<void> {
    const hold = ++this.#holds
    Atomics.store(this.#control, HOLD, hold)
    signalEvent(this.#eventFd)
    await this.#reached(HELD, hold)
  }

  /** The host's device was made anew: packets go through this descriptor from now on. */
  async replaceHost(fd: number): Promise<void> {
    const gone = this.#hostFd
    this.#hostFd = fd
    await this.#publish()
    closeFd(gone)
  }

  /** The node has another address: packets to and from peers go through these from now on; as many as before. */
  async replaceSockets(sockets: PeerSockets): Promise<void> {
    const { underlayFd, senderFds } = this.#sockets
    this.#sockets = sockets
    await this.#publish()
    for (const fd of [underlayFd, ...senderFds]) closeFd(fd)
  }

  /** New peers, routes, MTU: resolves once every packet is decided by them. */
  async setSurroundings(surroundings: Surroundings): Promise<void> {
    this.#surroundings = surroundings
    await this.#publish()
  }

  /** Resolves once every packet is decided by them. */
  async setServices(services: ServiceBuffers): Promise<void> {
    this.#services = services
    await this.#publish()
  }

  counters(): Omit<Counters, 'queues'> {
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
      flows: this.#flowMemory === undefined ? NO_FLOWS : flowTotals(this.#flowMemory),
    }
  }

  /** Datagrams of peers that found the underlay socket's buffer full. */
  underlayDrops(): number {
    return socketDrops(this.#sockets.underlayFd)
  }

  /** Every flow that the node knows, read while the data path goes on. */
  flows(): Iterable<FlowRecord> {
    return this.#flowMemory === undefined ? [] : listFlows(this.#flowMemory, monotonicMs())
  }

  /** Ends the workers and closes every descriptor. Devices are persistent: they stay, and so do the pods' addresses. */
  async stop(): Promise<void> {
    clearTimeout(this.#adoptedTimer)
    this.#leftovers.stop()
    await this.#crew.stop()
    const pods = [...this.#pods.values()].map(({ fd }) => fd)
    for (const fd of [...this.#ownFds(), ...pods, this.#eventFd]) closeFd(fd)
  }

  /**
   * Resolves once the worker works by the state of now, or by a later one. One state is on its way at a time; all changes
   * that come meanwhile go with the next, however many they are.
   */
  #publish(): Promise<void> {
    this.#nextPublish ??= this.#publishing.then(() => {
      this.#nextPublish = undefined
      const state = this.#nextState()
      this.#crew.post(state)
      this.#publishing = this.#acknowledged(state.generation)
      this.#adopted?.()
      this.#leftovers.add()
      return this.#publishing
    })
    return this.#nextPublish
  }

  #nextState(): WorkerState {
    const pods: PodEntry[] = [...this.#pods].map(([port, { addresses }]) => ({ port, addresses }))
    const podPorts = [...this.#pods].map(([port, { fd }]): [number, number] => [port, fd])
    const generation = Atomics.add(this.#control, GENERATION, 1) + 1
    const tables = buildTables({ ...this.#surroundings, services: this.#services, pods })
    const { underlayFd, senderFds } = this.#sockets
    const ports: WorkerState['ports'] = [[PORT_UNDERLAY, underlayFd], [PORT_HOST, this.#hostFd], ...podPorts]
    const state: WorkerState = { generation, tables, ports, senderFds }
    this.#states = [...this.#currentStates(), state]
    return state
  }

  /** What was decided by one state must be sent by it: the next worker begins with the one that this one worked by. */
  #currentStates(): WorkerState[] {
    const acknowledged = Atomics.load(this.#control, ACKNOWLEDGED)
    return this.#states.filter(({ generation }) => generation >= acknowledged)
  }

  #acknowledged(generation: number): Promise<void> {
    return this.#reached(ACKNOWLEDGED, generation)
  }

  /** Resolves when the worker has raised a word of the control array to `value`, or beyond. */
  async #reached(word: number, value: number): Promise<void> {
    for (;;) {
      const seen = Atomics.load(this.#control, word)
      if (seen >= value) return
      const wait = Atomics.waitAsync(this.#control, word, seen)
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
