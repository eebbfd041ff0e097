/**
 * Reads a container's log as the CRI has runtimes write it: one entry a line, `TIMESTAMP stdout|stderr P|F TEXT`, where
 * P marks a part of a longer line and F its end. Output of both streams goes to one, as kubectl does. Following waits
 * for the file to change, and looks once a second whether the container is over.
 */
import { once } from 'node:events'
import { watch } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { PolderError } from '../../errors.ts'
import type { LogOptions } from '../pod-runtime.ts'

const BLOCK_BYTES = 64 * 1024
const LOOK_MS = 1000

/** Resolves when everything is written, when following: when `isOver` and nothing is left, or the reader went away. */
export async function streamLog(
  path: string,
  options: LogOptions,
  out: Writable,
  isOver: () => Promise<boolean>,
): Promise<void> {
  const file = await open(path).catch((error: Error) => {
    throw new PolderError(
      'no-log',
      `The log cannot be read: ${error.message}`,
      'The container wrote none, or it was removed.',
    )
  })
  try {
    const entries = new LogEntries(options.timestamps === true)
    let position = options.tail === undefined ? 0 : await tailStart(file, options.tail)
    const block = Buffer.alloc(BLOCK_BYTES)
    let over = options.follow !== true
    while (!out.destroyed) {
      const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, position)
      position += bytesRead
      if (bytesRead > 0) await write(out, entries.take(block.subarray(0, bytesRead)))
      else if (over) break
      else {
        over = await isOver()
        if (!over) await changed(path, out)
      }
    }
  } finally {
    await file.close()
  }
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

/** Where the last `lines` lines begin, found from the end backwards. */
export async function tailStart(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat()
  if (lines <= 0) return size
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
      if (missing === 0) return start + from + 1
    }
    end = start
  }
  return 0
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
      const watcher = watch(path, { signal: stop.signal }, () => stop.abort())
      watcher.once('error', () => stop.abort())
      stop.signal.addEventListener('abort', () => resolve())
    })
  } finally {
    clearTimeout(timer)
    out.off('close', close)
  }
}
