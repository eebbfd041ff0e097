/**
 * A bound for polderd's own log where it is a plain file, as in a lab or after `polderd >> FILE`: one that has grown too
 * long keeps its last half. A journal bounds itself.
 *
 * The file is cut in place, for nobody but its descriptor tells where it is. That needs a file opened for appending: any
 * other would have a hole where the beginning was, and is left alone.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'

export const OWN_LOG_BYTES_MAX = 16 * 2 ** 20

/** /proc/PID/fdinfo has the flags in octal; asm-generic/fcntl.h */
const O_APPEND = 0o2000

export function boundOwnLog(fd: number, bytesMax: number): void {
  const { size } = fstatSync(fd)
  if (!fstatSync(fd).isFile() || size <= bytesMax || !isAppending(fd)) return
  const half = Buffer.alloc(bytesMax / 2)
  const reader = openSync(`/proc/self/fd/${fd}`, 'r')
  try {
    readSync(reader, half, 0, half.length, size - half.length)
  } finally {
    closeSync(reader)
  }
  ftruncateSync(fd)
  // Begins with a whole line.
  writeSync(fd, half, half.indexOf(10) + 1)
}

function isAppending(fd: number): boolean {
  const flags = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/^flags:\s+(\d+)$/m)?.[1]
  return flags !== undefined && (Number.parseInt(flags, 8) & O_APPEND) !== 0
}
