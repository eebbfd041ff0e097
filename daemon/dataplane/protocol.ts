/**
 * How main and the data-path worker talk. Main posts the whole state, raises GENERATION and rings the worker's event;
 * the worker adopts the newest state between two batches and raises ACKNOWLEDGED. Nothing is posted back.
 *
 * Two workers are there at any time: the one whose number ON_DUTY names, and one that stands by and waits for that.
 */

import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import type { TableBuffers } from '../../packet/tables/tables.ts'
import type { BatchMemory } from './batch-memory.ts'

// Words of the control array.
export const GENERATION = 0
export const ACKNOWLEDGED = 1
export const STOP = 2
/** Odd from the moment a batch was received until it is done, even while the worker waits for the next one. */
export const BREATH = 3
/** The number of the worker that carries the packets. */
export const ON_DUTY = 4
/** Where all are to end. */
export const NOBODY = -1
/** Its thread, as the kernel numbers it; 0 where there is none at work. */
export const THREAD = 5
/** 1 where the next batch has to wake the one who watches for hangs (watch.ts). */
export const WATCH_SLEEPS = 6
/** 0: the worker works. Else it takes no packet in, and says so by the same number in HELD when its batch is sent. */
export const HOLD = 8
export const HELD = 9
export const CONTROL_WORDS = 16

// Counters, as doubles: packets and bytes for each entrance, then packets for each drop reason, then answers.
export const ENTRANCES = ['from-pod', 'from-peer', 'from-host'] as const
export const FROM_POD = 0
export const FROM_PEER = 1
export const FROM_HOST = 2
export const COUNT_PACKETS = 0
export const COUNT_BYTES = ENTRANCES.length
export const COUNT_DROPS = 2 * ENTRANCES.length
/** ICMP errors that were sent. */
export const COUNT_ANSWERS = COUNT_DROPS + DROP_REASONS.length
export const COUNTER_SLOTS = COUNT_ANSWERS + 1

/** Everything the worker needs to know; complete each time, so that a new worker needs nothing else. */
export interface WorkerState {
  generation: number
  tables: TableBuffers
  /** [port, descriptor] of every TUN, and of the socket that receives from peers. */
  ports: [number, number][]
  /** Of the sockets that send to peers. */
  senderFds: number[]
}

/** What does not change as long as polderd lives. The state to begin with comes as a message, before the duty. */
export interface WorkerStart {
  control: Int32Array
  /** The file that the counters lie in, ready whenever the worker is not held. */
  counterFile: string
  memory: BatchMemory
  eventFd: number
  /** The file that the flow table lies in, ready whenever the worker is not held. */
  flowFile: string
}
