/**
 * The folders that polderd writes to, made and tried before anything else is touched: a wrong path, a read-only or full
 * disk is an error that names the path and its setting, not a surprise in the middle of work.
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { PolderError } from '../errors.ts'

/** A link in a folder that others may write to leads to a file that they may not. */
const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
const PROBE_FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW

/** What a disk answers that was good enough before. */
const DISK_ERRORS = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'])

/**
 * Makes the folder where it is missing, and writes a file into it to see that this works. Where polderd has been before, a
 * disk that is full or read-only now is a word in the log: what is there can be read, and pods keep their network.
 */
export function prepareFolder(setting: string, path: string, log: Logger): void {
  try {
    make(path)
    // Always the same, so that those who were killed here leave one; nobody minds who writes and removes it.
    const probe = join(path, '.probe')
    try {
      const fd = openSync(probe, PROBE_FLAGS)
      try {
        writeSync(fd, 'polder')
      } finally {
        closeSync(fd)
      }
    } finally {
      rmSync(probe, { force: true })
    }
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    if (DISK_ERRORS.has(code) && isInUse(path)) {
      log.error({ path, err: error }, 'polderd cannot write here: no pod can be attached until that is mended')
      return
    }
    throw new PolderError(
      'bad-folder',
      `polderd cannot write to ${path}: ${code || message}`,
      `Mend that, or set ${setting} to a folder on a disk with room that root may write to.`,
    )
  }
}

function isInUse(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false) && readdirSync(path).length > 0
}

/** Step by step: Node's recursive mkdir never ends where the kernel answers ENOENT for a parent that exists (/proc). */
function make(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
  if (dirname(path) !== path) make(dirname(path))
  try {
    // What pods are given in their environment is nobody else's to read. A folder that exists stays as its owner made it.
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another polderd of this machine may make the shared folder at the same moment.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(path).isDirectory()) throw error
  }
}
