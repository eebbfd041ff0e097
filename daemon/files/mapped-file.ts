/**
 * Files that are mapped into memory, by several threads and processes at once: whole or not there, as other files
 * (atomic-file.ts), and written without a system call from then on. They are for the run directory, which lasts until
 * the machine stops; nothing is flushed.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, renameSync } from 'node:fs'
import { mapFile, reserveFile } from '../nic/nic.ts'

/** Undefined where there is none, or an empty one. */
export function mapExisting(path: string): ArrayBuffer | undefined {
  let fd: number
  try {
    fd = openSync(path, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const bytes = fstatSync(fd).size
    return bytes === 0 ? undefined : mapFile(fd, bytes)
  } finally {
    closeSync(fd)
  }
}

/** In place of what is there. There is memory behind the first `reservedBytes`, or it throws; `fill` writes into them. */
export function createMapped(
  path: string,
  bytes: number,
  reservedBytes: number,
  fill: (buffer: ArrayBuffer) => void,
): ArrayBuffer {
  const temporary = `${path}.new`
  const fd = openSync(temporary, 'w+', 0o600)
  try {
    ftruncateSync(fd, bytes)
    if (!reserveFile(fd, 0, reservedBytes)) throw new Error('no space left')
    const buffer = mapFile(fd, bytes)
    fill(buffer)
    renameSync(temporary, path)
    return buffer
  } finally {
    closeSync(fd)
  }
}
