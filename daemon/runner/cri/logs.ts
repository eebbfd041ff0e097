/**
 * Reads a container's log as the CRI has runtimes write it: one entry a line, `TIMESTAMP stdout|stderr P|F TEXT`, where
 * P marks a part of a longer line and F its end. Output of both streams goes to one, as kubectl does. Following waits
 * for the file to change, and looks once a second whether the container is over, or its log begun anew: what was there
 * before is then beside it (log-rotation.ts), and is shown too.
 */
import { once } from 'node:events'
import { watch } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open, stat } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../errors.ts'
import type { LogOptions } from '../pod-runtime.ts'
import { rotatedPath } from './log-rotation.ts'

const BLOCK_BYTES = 64 * 1024
const LOOK_MS = 1000
/** A runtime writes its last to the old file when the new one is there already. */
const LAST_WORDS_MS = 100

/** Resolves when everything is written, when following: when `isOver` and nothing is left, or the reader went away. */
export async function streamLog(
  path: string,
  options: LogOptions,
  out: Writable,
  isOver: () => Promise<boolean>,
): Promise<void> {
  let file = await open(path).catch((error: Error) => {
    throw new PolderError(
      'no-log',
      `The log cannot be read: ${error.message}`,
      'The container wrote none, or it was removed.',
    )
  })
  try {
    const entries = new LogEntries(options.timestamps === true)
    const tail = options.tail === undefined ? { position: 0, missing: Infinity } : await tailStart(file, options.tail)
    if (tail.missing > 0) await copyEarlier(path, file, tail.missing, entries, out)
    let position = await copy(file, tail.position, entries, out)
    let over = options.follow !== true
    while (!out.destroyed) {
      const next = await successor(path, file)
      if (next !== undefined) {
        await delay(LAST_WORDS_MS)
        await copy(file, position, entries, out)
        await file.close()
        file = next
        position = 0
      } else if (over) break
      else {
        over = await isOver()
        if (!over) await changed(path, out)
      }
      position = await copy(file, position, entries, out)
    }
  } finally {
    await file.close()
  }
}

/** From `position` to the end; resolves to where that is. */
async function copy(file: FileHandle, position: number, entries: LogEntries, out: Writable): Promise<number> {
  const block = Buffer.alloc(BLOCK_BYTES)
  for (;;) {
    const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, position)
    if (bytesRead === 0 || out.destroyed) return position
    position += bytesRead
    await write(out, entries.take(block.subarray(0, bytesRead)))
  }
}

/** The last `lines` lines of what was written before `file` was begun. */
async function copyEarlier(
  path: string,
  file: FileHandle,
  lines: number,
  entries: LogEntries,
  out: Writable,
): Promise<void> {
  const earlier = await open(rotatedPath(path)).catch(() => undefined)
  if (earlier === undefined) return
  try {
    if ((await earlier.stat()).ino === (await file.stat()).ino) return
    const { position } = lines === Infinity ? { position: 0 } : await tailStart(earlier, lines)
    await copy(earlier, position, entries, out)
  } finally {
    await earlier.close()
  }
}

/** The log that was begun since `file` was opened, if one was. */
async function successor(path: string, file: FileHandle): Promise<FileHandle | undefined> {
  const there = await stat(path).catch(() => undefined)
  if (there === undefined || there.ino === (await file.stat()).ino) return undefined
  return await open(path).catch(() => undefined)
}

/** Turns blocks of a CRI log into what the container wrote; what is cut off at a block's end waits for the next. */
export class LogEntries {
  readonly #timestamps: boolean
  #rest: Buffer = Buffer.alloc(0)
  #insideLine = false

  constructor(timestamps: boolean) {
    this.#timestamps = timestamps
  }

  take(block: Buffer): Buffer {
    const bytes = Buffer.concat([this.#rest, block])
    const output: Buffer[] = []
    let start = 0
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      this.#takeEntry(bytes.subarray(start, end + 1), output)
      start = end + 1
    }
    this.#rest = bytes.subarray(start)
    return Buffer.concat(output)
  }

  #takeEntry(entry: Buffer, output: Buffer[]): void {
    const afterTime = entry.indexOf(32)
    const afterStream = entry.indexOf(32, afterTime + 1)
    const afterTag = entry.indexOf(32, afterStream + 1)
    // Not an entry: a line that was torn when the node lost power. It is shown as it is.
    if (afterTime < 0 || afterStream < 0 || afterTag < 0) {
      output.push(entry)
      return
    }
    if (this.#timestamps && !this.#insideLine) output.push(entry.subarray(0, afterTime + 1))
    // The tag may carry more than one letter, divided by colons: the first says whether the line goes on.
    this.#insideLine = entry[afterStream + 1] === 0x50
    output.push(entry.subarray(afterTag + 1, this.#insideLine ? -1 : undefined))
  }
}

/** Where the last `lines` lines begin, found from the end backwards, and how many of them the file does not have. */
export async function tailStart(file: FileHandle, lines: number): Promise<{ position: number; missing: number }> {
  const { size } = await file.stat()
  if (lines <= 0) return { position: size, missing: 0 }
  const block = Buffer.alloc(BLOCK_BYTES)
  let missing = lines
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - BLOCK_BYTES)
    await file.read(block, 0, end - start, start)
    // The newline that ends the file's last line begins no other.
    let from = end - start - (end === size ? 2 : 1)
    for (; from >= 0; from--) {
      from = block.lastIndexOf(10, from)
      if (from < 0) break
      missing--
      if (missing === 0) return { position: start + from + 1, missing: 0 }
    }
    end = start
  }
  // The first line has no newline before it.
  return { position: 0, missing: missing - (size > 0 ? 1 : 0) }
}

async function write(out: Writable, bytes: Buffer): Promise<void> {
  if (bytes.length === 0 || out.write(bytes)) return
  // A reader that goes away ends the wait like one that reads on.
  await Promise.race([once(out, 'drain'), once(out, 'close')]).catch(() => {})
}

/** The file was written to, or it is time to look at the container again. */
async function changed(path: string, out: Writable): Promise<void> {
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), LOOK_MS)
  const close = () => stop.abort()
  out.once('close', close)
  try {
    await new Promise<void>((resolve) => {
      stop.signal.addEventListener('abort', () => resolve())
      try {
        watch(path, { signal: stop.signal }, () => stop.abort()).once('error', () => stop.abort())
      } catch {
        // Just being rotated: the next look finds it.
      }
    })
  } finally {
    clearTimeout(timer)
    out.off('close', close)
  }
}
