/**
 * The data-path worker: a thread that does nothing but packets. Its whole life is one loop; each turn is a breath:
 *
 *   receive a batch (the only place it waits) -> adopt new tables, if any -> decide every packet -> send the batch
 *
 * It never returns to the event loop, so nothing in it may rely on timers, promises or messages arriving by
 * themselves: new state is fetched with receiveMessageOnPort when the generation says that there is some.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { openTables, type Tables } from '../../packet/tables/tables.ts'
import { PORT_EVENT, PORT_UNDERLAY } from '../nic/descriptors.ts'
import {
  type DataplaneHandle,
  dataplaneCreate,
  dataplaneReceive,
  dataplaneSend,
  dataplaneSetPeers,
  dataplaneSetPort,
} from '../nic/nic.ts'
import { Batch } from './batch.ts'
import { ACKNOWLEDGED, GENERATION, STOP, type WorkerStart, type WorkerState } from './protocol.ts'

/** Long enough to cost nothing when idle; everything that matters rings the event. */
const IDLE_MS = 10_000

function breathe(start: WorkerStart): void {
  const { control } = start
  const batch = new Batch(start.counters, (count) => dataplaneSend(plane, count))
  const plane = dataplaneCreate(batch.arena, batch.rx, batch.tx, batch.failures, Int32Array.from(start.senderFds))
  dataplaneSetPort(plane, PORT_EVENT, start.eventFd)

  const ports = new Map<number, number>()
  let generation = 0
  let tables: Tables | undefined
  while (Atomics.load(control, STOP) === 0) {
    const received = dataplaneReceive(plane, IDLE_MS)
    const state = Atomics.load(control, GENERATION) === generation ? undefined : newestState()
    if (state !== undefined) {
      if (tables === undefined) dataplaneSetPort(plane, PORT_UNDERLAY, start.underlayFd)
      tables = adopt(plane, state, ports)
      generation = state.generation
      Atomics.store(control, ACKNOWLEDGED, generation)
      Atomics.notify(control, ACKNOWLEDGED)
    }
    // Before the first tables only the event is watched, so nothing can have been received.
    if (tables !== undefined) batch.run(received, tables, performance.now())
  }
}

function newestState(): WorkerState | undefined {
  let newest: WorkerState | undefined
  for (let next = receiveMessageOnPort(parentPort!); next !== undefined; next = receiveMessageOnPort(parentPort!)) {
    newest = next.message as WorkerState
  }
  return newest
}

/** Watches the ports that are new, forgets those that are gone, and opens the tables. */
function adopt(plane: DataplaneHandle, state: WorkerState, ports: Map<number, number>): Tables {
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
  const tables = openTables(state.tables)
  dataplaneSetPeers(plane, tables.peers.endpoints(), tables.peers.size)
  return tables
}

breathe(workerData as WorkerStart)
