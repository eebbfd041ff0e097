/**
 * The data-path worker: a thread that does nothing but packets. Its whole life is one loop; each turn is a breath:
 *
 *   receive a batch (the only place it waits) -> adopt new tables, if any -> decide every packet -> send the batch
 *
 * It never returns to the event loop, so nothing in it may rely on timers, promises or messages arriving by
 * themselves: new state is fetched with receiveMessageOnPort when the generation says that there is some.
 *
 * Once loaded it stands by until it is its turn: at once for the first one, at the death of the one before for the
 * others. It begins with the state that one worked by, and with what that one left unfinished.
 */
import { readlinkSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { parentPort, receiveMessageOnPort, threadId, workerData } from 'node:worker_threads'
import { flowsInMemory } from '../../packet/tables/flow-recovery.ts'
import { type FlowMemory, openFlowMemory, openTables } from '../../packet/tables/tables.ts'
import { PORT_EVENT } from '../nic/descriptors.ts'
import {
  type DataplaneHandle,
  dataplaneCreate,
  dataplaneReceive,
  dataplaneSend,
  dataplaneSetPeers,
  dataplaneSetPort,
  dataplaneSetSenders,
} from '../nic/nic.ts'
import { Batch } from './batch.ts'
import { openCounterFile } from './counter-file.ts'
import { monotonicMs, openFlowFile } from './flow-file.ts'
import {
  ACKNOWLEDGED,
  BREATH,
  COUNTER_SLOTS,
  GENERATION,
  HELD,
  HOLD,
  ON_DUTY,
  STOP,
  THREAD,
  WATCH_SLEEPS,
  type WorkerStart,
  type WorkerState,
} from './protocol.ts'
import { Rehearsal } from './rehearsal.ts'

/** Long enough to cost nothing when idle; everything that matters rings the event. */
const IDLE_MS = 10_000
/** How often a held worker looks whether there is new state. */
const REST_MS = 2
/** While there are flows, so that those that run out are forgotten; and while there is garbage. */
const IDLE_WITH_WORK_MS = 1_000

/** Before the first packet. */
const NO_FLOWS_YET = openFlowMemory(flowsInMemory(1))

function standBy(control: Int32Array): void {
  // Not one whose turn it is at once: packets may wait for it.
  let rehearsal: Rehearsal | undefined
  while (Atomics.load(control, ON_DUTY) !== threadId && Atomics.load(control, STOP) === 0 && !rehearsal?.isOver) {
    rehearsal ??= new Rehearsal()
    rehearsal.step()
  }
  for (;;) {
    const onDuty = Atomics.load(control, ON_DUTY)
    if (onDuty === threadId || Atomics.load(control, STOP) !== 0) return
    // For the next start; there is time now.
    flushCompileCache()
    collectGarbage()
    parentPort!.postMessage('stands by')
    Atomics.wait(control, ON_DUTY, onDuty)
  }
}

function breathe(start: WorkerStart, first: WorkerState): void {
  const { control, memory } = start
  let breath = Atomics.load(control, BREATH) | 1
  Atomics.store(control, BREATH, breath)
  let held = Atomics.load(control, HOLD) !== 0
  // The first one of a polderd waits here for its pods, and has not rehearsed yet.
  let rehearsal = held ? new Rehearsal() : undefined
  let flows = held ? NO_FLOWS_YET : openFlowMemory(openFlowFile(start.flowFile))
  let state = first
  const counters = held ? new Float64Array(COUNTER_SLOTS) : openCounterFile(start.counterFile)
  const batch = new Batch(openTables(state.tables, flows), counters, memory, (count) => dataplaneSend(plane, count))
  const plane = dataplaneCreate(memory.arena, memory.rx, memory.tx, batch.failures, Int32Array.from(first.senderFds))
  const ports = new Map<number, number>()
  // Tables that were replaced, what a rehearsal has left.
  let hasGarbage = true
  adopt(plane, batch, state, flows, ports, control)
  // What the one before left unfinished.
  if (!held) batch.run(monotonicMs())
  dataplaneSetPort(plane, PORT_EVENT, start.eventFd)
  while (Atomics.load(control, STOP) === 0) {
    breath = (breath + 1) | 0
    Atomics.store(control, BREATH, breath)
    const hold = Atomics.load(control, HOLD)
    const idleMs = flows.flows.size > 0 || hasGarbage ? IDLE_WITH_WORK_MS : IDLE_MS
    const received = hold === 0 ? dataplaneReceive(plane, idleMs) : rest(control, hold, rehearsal)
    breath = (breath + 1) | 0
    Atomics.store(control, BREATH, breath)
    const isTold = Atomics.load(control, GENERATION) !== state.generation
    // Not for a tick that finds nothing: the watch would never sleep while there are flows.
    if ((received > 0 || isTold) && Atomics.load(control, WATCH_SLEEPS) === 1) wakeWatch(control)
    batch.begin(received)
    const newer = isTold ? newestState() : undefined
    const released = held && hold === 0
    if (released) {
      flows = openFlowMemory(openFlowFile(start.flowFile))
      batch.countIn(openCounterFile(start.counterFile))
      rehearsal = undefined
    }
    if (newer !== undefined || released) {
      state = newer ?? state
      adopt(plane, batch, state, flows, ports, control)
      hasGarbage = true
    } else if (received === 0 && !held && hasGarbage) {
      collectGarbage()
      hasGarbage = false
    }
    held = hold !== 0
    // Held, the flow table may be another polderd's.
    if (!held) batch.run(monotonicMs())
  }
}

/** Some milliseconds, in which packets wait: only where none came for a while. The path itself leaves no garbage. */
function collectGarbage(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync' })
}

function wakeWatch(control: Int32Array): void {
  Atomics.store(control, WATCH_SLEEPS, 0)
  Atomics.notify(control, WATCH_SLEEPS)
}

/** Held: packets wait in the devices' queues and in the socket. */
function rest(control: Int32Array, hold: number, rehearsal: Rehearsal | undefined): number {
  if (Atomics.exchange(control, HELD, hold) !== hold) Atomics.notify(control, HELD)
  if (rehearsal?.isOver === false) rehearsal.step()
  else Atomics.wait(control, HOLD, hold, REST_MS)
  return 0
}

function newestState(): WorkerState | undefined {
  let newest: WorkerState | undefined
  for (let next = receiveMessageOnPort(parentPort!); next !== undefined; next = receiveMessageOnPort(parentPort!)) {
    newest = next.message as WorkerState
  }
  return newest
}

/** Watches the ports that are new, forgets those that are gone, works by the new tables, and says so. */
function adopt(
  plane: DataplaneHandle,
  batch: Batch,
  state: WorkerState,
  flowMemory: FlowMemory,
  ports: Map<number, number>,
  control: Int32Array,
): void {
  const wanted = new Map(state.ports)
  for (const [port, fd] of ports) {
    if (wanted.get(port) === fd) continue
    dataplaneSetPort(plane, port, -1)
    ports.delete(port)
  }
  for (const [port, fd] of wanted) {
    if (ports.has(port)) continue
    dataplaneSetPort(plane, port, fd)
    ports.set(port, fd)
  }
  dataplaneSetSenders(plane, Int32Array.from(state.senderFds))
  const tables = openTables(state.tables, flowMemory)
  dataplaneSetPeers(plane, tables.peers.endpoints(), tables.peers.size)
  batch.adopt(tables, monotonicMs())
  Atomics.store(control, ACKNOWLEDGED, state.generation)
  Atomics.notify(control, ACKNOWLEDGED)
}

const start = workerData as WorkerStart
standBy(start.control)
const first = receiveMessageOnPort(parentPort!)?.message as WorkerState | undefined
if (first !== undefined) {
  // PID/task/THREAD
  Atomics.store(start.control, THREAD, Number(readlinkSync('/proc/thread-self').split('/').at(-1)))
  breathe(start, first)
}
