/**
 * Locks between the processes that share a folder: flock(2) on a file, so that the kernel lets go of the lock when its
 * holder dies, however it dies. One open file description holds it: two stores in one process exclude each other, too.
 */
import { closeSync, constants, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../errors.ts'
import { isCode, notWritten } from '../../files/atomic-file.ts'
import { flock } from '../../nic/nic.ts'

const WAIT_MS_MAX = 15_000
const RETRY_MS = 2
/** A link in a folder that others may write to leads to a file that they may not. */
const FLAGS = constants.O_RDWR | constants.O_NOFOLLOW

/** Runs `work` while no other process or store runs its own under the same lock; waits for its turn. */
export async function withLock<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  const fd = openLockFile(path)
  try {
    const deadline = performance.now() + WAIT_MS_MAX
    while (!flock(fd)) {
      if (performance.now() > deadline) {
        throw new PolderError(
          'store-busy',
          `Another process has held ${path} for more than ${WAIT_MS_MAX / 1000} seconds.`,
          `Find it with \`fuser ${path}\`; let it go on, or end it.`,
        )
      }
      await delay(RETRY_MS * (1 + Math.random()))
    }
    return await work()
  } finally {
    closeSync(fd)
  }
}

/** The descriptor that holds the lock until it is closed, with this process's id in the file; undefined: it is taken. */
export function takeLock(path: string): number | undefined {
  const fd = openLockFile(path)
  if (!flock(fd)) {
    closeSync(fd)
    return undefined
  }
  try {
    ftruncateSync(fd)
    writeSync(fd, `${process.pid}\n`, 0)
  } catch {
    // On a full or read-only disk the lock holds all the same; only who has it, nobody can read.
  }
  return fd
}

/** Whether a living process holds the lock. Only under withLock() of the folder, where nobody is about to take it. */
export function isHeld(path: string): boolean {
  let fd: number
  try {
    fd = openExisting(path)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
  try {
    return !flock(fd)
  } finally {
    closeSync(fd)
  }
}

/** The process id that the lock's holder wrote. */
export function holderOf(path: string): string {
  return readFileSync(path, 'utf8').trim() || 'unknown'
}

function openLockFile(path: string): number {
  try {
    return existsSync(path) ? openExisting(path) : openSync(path, FLAGS | constants.O_CREAT, 0o600)
  } catch (error) {
    throw notWritten(path, error)
  }
}

/** For writing, which NFS wants for a lock; on a read-only disk for reading, which is enough there. */
function openExisting(path: string): number {
  try {
    return openSync(path, FLAGS)
  } catch (error) {
    if (isCode(error, 'EROFS')) return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    throw error
  }
}
