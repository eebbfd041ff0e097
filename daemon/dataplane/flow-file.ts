/**
 * The file that the flow table lies in: next to the API's socket, in memory (a tmpfs), and there for as long as the
 * machine runs. A polderd that comes after another one, however that one ended, finds its flows again. Where the table
 * is to have another size, or another version wrote it, the flows are carried over into a new file.
 *
 * Main makes the file ready each time before packets flow, and reads it for people; the worker on duty maps it again and
 * is its only writer. Nobody writes it while the worker is held, so a polderd that takes over finds it at rest.
 */
import { closeSync, openSync } from 'node:fs'
import type { Logger } from 'pino'
import { bucketsFor, HEADER_WORDS, tableWords } from '../../packet/tables/flow-layout.ts'
import { convertFlows, formatFlows, judgeFlows, openFlows } from '../../packet/tables/flow-recovery.ts'
import type { FlowTable, Reserve } from '../../packet/tables/flows.ts'
import { PolderError } from '../errors.ts'
import { createMapped, mapExisting } from '../files/mapped-file.ts'
import { reserveFile } from '../nic/nic.ts'

export interface FlowFileOptions {
  path: string
  /** How many flows the table is to hold. */
  capacity: number
  /** As /proc/sys/kernel/random/boot_id has it. */
  bootId: string
  log: Logger
}

/** Answers the table's memory, for reading. Nobody may write the table meanwhile. */
export function prepareFlowFile(options: FlowFileOptions): ArrayBuffer {
  try {
    return takeOver(options) ?? createAnew(options)
  } catch (error) {
    throw new PolderError(
      'flows-failed',
      `the flow table ${options.path} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      `Make room there: ${mebibytes(fixedBytes(options.capacity))} MiB, and up to ${mebibytes(tableWords(options.capacity) * 4)} MiB for all of maxFlows; or set that to less.`,
    )
  }
}

/** For the worker on duty. */
export function openFlowFile(path: string): FlowTable {
  const buffer = mapExisting(path)
  if (buffer === undefined) throw new Error(`${path} is gone`)
  return openFlows(buffer, reserveIn(path))
}

/** Where the run directory is full, the table grows no more: flows make room for each other, and nothing dies of it. */
function reserveIn(path: string): Reserve {
  return (fromByte, bytes) => {
    const fd = openSync(path, 'r+')
    try {
      return reserveFile(fd, fromByte, bytes)
    } finally {
      closeSync(fd)
    }
  }
}

/** Header and index, which are there from the beginning. */
function fixedBytes(capacity: number): number {
  return (HEADER_WORDS + bucketsFor(capacity)) * 4
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20)
}

/** Milliseconds since the machine started, as every process of it counts them. */
export function monotonicMs(): number {
  return CLOCK_OFFSET_MS + performance.now()
}

const CLOCK_OFFSET_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** The file as it is, where it can be used so. */
function takeOver({ path, capacity, bootId, log }: FlowFileOptions): ArrayBuffer | undefined {
  const before = mapExisting(path)
  if (before === undefined) return undefined
  const found = judgeFlows(before, capacity, bootWords(bootId))
  if (found === 'usable') return before
  if (found === 'foreign') {
    log.info({ path }, 'what lies in the flow table is not of this boot: it begins anew')
    return undefined
  }
  const after = createAnew({ path, capacity, bootId, log })
  const table = openFlows(after, reserveIn(path))
  table.tick(monotonicMs())
  const lost = convertFlows(before, table)
  log.info({ path, flows: table.size, lost }, 'the flow table has another size or layout: flows are carried over')
  return after
}

function createAnew({ path, capacity, bootId }: FlowFileOptions): ArrayBuffer {
  return createMapped(path, tableWords(capacity) * 4, fixedBytes(capacity), (buffer) => {
    const seed = crypto.getRandomValues(new Int32Array(1))[0]!
    formatFlows(buffer, capacity, seed, bootWords(bootId))
  })
}

/** Four words of a UUID. */
function bootWords(bootId: string): Int32Array {
  const digits = bootId.replaceAll('-', '')
  return Int32Array.from({ length: 4 }, (_, i) => Number.parseInt(digits.slice(i * 8, i * 8 + 8), 16))
}
