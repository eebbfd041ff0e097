/**
 * The data-path worker: a thread that does nothing but packets. Its whole life is one loop; each turn is a breath:
 *
 *   receive a batch (the only place it waits) -> adopt new tables, if any -> decide every packet -> send the batch
 *
 * It never returns to the event loop, so nothing in it may rely on timers, promises or messages arriving by
 * themselves: new state is fetched with receiveMessageOnPort when the generation says that there is some.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { openTables } from '../../packet/tables/tables.ts'
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
  const batch = new Batch(openTables(start.state.tables), start.counters, (count) => dataplaneSend(plane, count))
  const plane = dataplaneCreate(batch.arena, batch.rx, batch.tx, batch.failures, Int32Array.from(start.senderFds))
  const ports = new Map<number, number>()
  let generation = adopt(plane, batch, start.state, ports, control)
  dataplaneSetPort(plane, PORT_EVENT, start.eventFd)
  dataplaneSetPort(plane, PORT_UNDERLAY, start.underlayFd)
  while (Atomics.load(control, STOP) === 0) {
    const received = dataplaneReceive(plane, IDLE_MS)
    const state = Atomics.load(control, GENERATION) === generation ? undefined : newestState()
    if (state !== undefined) generation = adopt(plane, batch, state, ports, control)
    batch.run(received, performance.now())
  }
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
  ports: Map<number, number>,
  control: Int32Array,
): number {
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
  batch.adopt(tables, performance.now())
  Atomics.store(control, ACKNOWLEDGED, state.generation)
  Atomics.notify(control, ACKNOWLEDGED)
  return state.generation
}

breathe(workerData as WorkerStart)
