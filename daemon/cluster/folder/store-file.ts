/**
 * Reads one file of the folder, without ever hanging or swallowing a giant: only regular files, only up to a limit.
 * Reading is synchronous, so that a refresh of the mirror is one step: the files are small and local.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isCode } from '../../files/atomic-file.ts'
import { MANIFEST_BYTES_MAX } from '../schema.ts'

export interface StoreFile {
  /** Differs whenever the file system knows that the file was written or replaced. */
  signature: string
  bornAt: string
  /** Undefined where the file is not readable text; `mistake` says why. */
  text?: string
  mistake?: string
}

/** Undefined where there is no file; 'unchanged' where its signature is still the given one. */
export function readStoreFile(path: string, signature?: string): StoreFile | 'unchanged' | undefined {
  let fd: number
  try {
    // A named pipe without a writer would block an ordinary open for good.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return undefined
    return { signature: '', bornAt: '', mistake: `cannot be opened: ${(error as Error).message}` }
  }
  try {
    const stat = fstatSync(fd, { bigint: true })
    const found: StoreFile = {
      signature: `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`,
      bornAt: bornAt(Number(stat.birthtimeMs), Number(stat.mtimeMs)),
    }
    if (found.signature === signature) return 'unchanged'
    if (!stat.isFile()) return { ...found, mistake: 'is not a regular file' }
    if (stat.size > MANIFEST_BYTES_MAX) return { ...found, mistake: `is longer than ${MANIFEST_BYTES_MAX} bytes` }
    return { ...found, text: readFileSync(fd, 'utf8') }
  } catch (error) {
    return { signature: '', bornAt: '', mistake: `cannot be read: ${(error as Error).message}` }
  } finally {
    closeSync(fd)
  }
}

/** Some file systems know no birth time. */
function bornAt(birthMs: number, modifiedMs: number): string {
  const seconds = Math.floor((birthMs > 0 ? birthMs : modifiedMs) / 1000)
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')
}

/** Paths relative to the store's folder; none where there is no such directory. */
export function filesIn(folder: string, directory: string): string[] {
  if (!existsSync(join(folder, directory))) return []
  return readdirSync(join(folder, directory)).map((name) => join(directory, name))
}
