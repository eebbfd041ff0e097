/**
 * The file that the counters lie in, next to the flow table: they go on where an earlier polderd stopped, however that one
 * ended, and begin at 0 with the machine. Where another version left others, what has the same name is carried over.
 *
 *   0      a text: JSON of [boot, name of each counter]; padded with spaces
 *   4096   a double for each, in this order
 *
 * Main makes the file ready each time before packets flow; the worker on duty maps it again and is its only writer, but
 * for packets that killed one (crew.ts).
 */
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import { PolderError } from '../errors.ts'
import { createMapped, mapExisting } from '../files/mapped-file.ts'
import { COUNT_ANSWERS, COUNT_BYTES, COUNT_DROPS, COUNT_PACKETS, COUNTER_SLOTS, ENTRANCES } from './protocol.ts'

const HEADER_BYTES = 4096
const FILE_BYTES = HEADER_BYTES + COUNTER_SLOTS * Float64Array.BYTES_PER_ELEMENT

const NAMES: readonly string[] = Object.assign(new Array<string>(COUNTER_SLOTS), {
  ...slots(COUNT_PACKETS, 'packets', ENTRANCES),
  ...slots(COUNT_BYTES, 'bytes', ENTRANCES),
  ...slots(
    COUNT_DROPS,
    'dropped',
    DROP_REASONS.map(({ name }) => name),
  ),
  [COUNT_ANSWERS]: 'answers',
})

function slots(first: number, what: string, names: readonly string[]): Record<number, string> {
  return Object.fromEntries(names.map((name, i) => [first + i, `${what} ${name}`]))
}

export interface CounterFileOptions {
  path: string
  /** As /proc/sys/kernel/random/boot_id has it. */
  bootId: string
}

/** Answers the counters, for reading. */
export function prepareCounterFile({ path, bootId }: CounterFileOptions): Float64Array {
  try {
    const header = headerOf(bootId)
    const before = mapExisting(path)
    if (before?.byteLength === FILE_BYTES && textOf(before) === header) return countersIn(before)
    const carried = before === undefined ? new Map<string, number>() : read(before, bootId)
    return countersIn(
      createMapped(path, FILE_BYTES, FILE_BYTES, (buffer) => {
        new TextEncoder().encodeInto(header, new Uint8Array(buffer))
        countersIn(buffer).set(NAMES.map((name) => carried.get(name) ?? 0))
      }),
    )
  } catch (error) {
    throw new PolderError(
      'counters-failed',
      `the counters ${path} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      `Make room there: ${FILE_BYTES} bytes.`,
    )
  }
}

/** For the worker on duty. */
export function openCounterFile(path: string): Float64Array {
  const buffer = mapExisting(path)
  if (buffer?.byteLength !== FILE_BYTES) throw new Error(`${path} is gone`)
  return countersIn(buffer)
}

function headerOf(bootId: string): string {
  return JSON.stringify([bootId, ...NAMES]).padEnd(HEADER_BYTES)
}

function textOf(buffer: ArrayBuffer): string {
  return new TextDecoder().decode(new Uint8Array(buffer, 0, Math.min(HEADER_BYTES, buffer.byteLength)))
}

function countersIn(buffer: ArrayBuffer): Float64Array {
  return new Float64Array(buffer, HEADER_BYTES, COUNTER_SLOTS)
}

/** What an earlier version counted since the machine started; nothing where that cannot be told. */
function read(buffer: ArrayBuffer, bootId: string): Map<string, number> {
  const carried = new Map<string, number>()
  try {
    const [boot, ...names] = JSON.parse(textOf(buffer)) as string[]
    if (boot !== bootId) return carried
    const values = new Float64Array(buffer, HEADER_BYTES, names.length)
    for (const [i, name] of names.entries()) carried.set(name, values[i]!)
  } catch {
    carried.clear()
  }
  return carried
}
