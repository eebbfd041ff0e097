/**
 * Files that are there whole or not at all, for other processes, after a kill and after a power cut. The one way in which
 * polderd writes a file: the text goes into a hidden file in the same folder, is flushed to disk, gets its name in one
 * step, and the folder is flushed. rename(2) replaces what is there, link(2) fails where something is, so that exactly
 * one of many processes creates a file. What resolved has happened for good.
 *
 * What only matters until the machine stops needs no flushing (replaceUntilReboot): the kernel itself shows every process
 * the new file or the old one, and after a power cut nobody asks.
 *
 * Errors of the disk (full, read-only, out of order) are PolderErrors with the code `not-written`.
 */
import { constants, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { PolderError } from '../errors.ts'

const TEMPORARY = /^\.polder-.*\.tmp$/
/** How old a temporary file must be before it is nobody's; then the clock may have jumped, but no writer takes so long. */
export const ABANDONED_AGE_MS = 60_000
/** What link(2) answers where the file system has no hard links (vboxsf, some FUSE and network file systems). */
const LINK_UNSUPPORTED = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'])
/** What fsync(2) of a folder answers where the file system knows no such thing. */
const FOLDER_SYNC_UNSUPPORTED = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])
const DISK_ERRORS = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EFBIG'])

let serial = 0

/** Of `mode`, whatever the umask; of the usual one where none is given. */
export async function replaceFile(path: string, content: string | Uint8Array, mode?: number): Promise<void> {
  await inWords(path, async () => {
    const temporary = await writeTemporary(path, content, mode)
    try {
      await rename(temporary, path)
    } catch (error) {
      await discard(temporary).catch(() => {})
      throw error
    }
    await syncFolder(dirname(path))
  })
}

/** False where the file exists already. */
export function createFile(path: string, text: string): Promise<boolean> {
  return inWords(path, async () => {
    const temporary = await writeTemporary(path, text)
    try {
      await link(temporary, path)
    } catch (error) {
      if (isCode(error, 'EEXIST')) return false
      if (!LINK_UNSUPPORTED.has(codeOf(error))) throw error
      if (!(await reserve(path))) return false
      await rename(temporary, path)
    } finally {
      // What cannot be removed now, the sweep removes.
      await discard(temporary).catch(() => {})
    }
    await syncFolder(dirname(path))
    return true
  })
}

/** False where there was none. */
export function removeFile(path: string): Promise<boolean> {
  return inWords(path, async () => {
    if (!(await discard(path))) return false
    await syncFolder(dirname(path))
    return true
  })
}

/** The folder and all above it that are missing. */
export async function makeFolder(path: string): Promise<void> {
  await inWords(path, async () => {
    const first = await mkdir(path, { recursive: true })
    if (first === undefined) return
    for (let made = path; ; made = dirname(made)) {
      await syncFolder(dirname(made))
      if (made === first) return
    }
  })
}

/** Whole for every process until the machine stops; what a power cut leaves of it may be anything. */
export function replaceUntilReboot(path: string, contents: string | Uint8Array, mode: number): void {
  const temporary = temporaryBeside(path)
  try {
    writeFileSync(temporary, contents, { mode, flag: 'wx' })
    renameSync(temporary, path)
  } catch (error) {
    try {
      unlinkSync(temporary)
    } catch {
      // Of a full or read-only disk the first error says more.
    }
    throw notWritten(path, error)
  }
}

export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name)
}

/** Removes what killed writers left in `folder`, as far as that can be done; who is writing there is not disturbed. */
export async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!isTemporary(name)) continue
    const path = join(folder, name)
    const age = await stat(path).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    )
    if (age > ABANDONED_AGE_MS) await discard(path).catch(() => {})
  }
}

/** What the disk refused, in words; any other error as it is. */
export function notWritten(path: string, error: unknown): unknown {
  const { code, errno } = error as NodeJS.ErrnoException
  if (!(error instanceof Error) || code === undefined || errno === undefined || !DISK_ERRORS.has(code)) return error
  return new PolderError(
    'not-written',
    `${path} cannot be written: ${getSystemErrorMessage(errno)} (${code})`,
    `see 'df -h ${dirname(path)}', 'df -i' and 'mount': make room there, or mend the disk; polderd need not be restarted`,
  )
}

export function isCode(error: unknown, code: string): boolean {
  return codeOf(error) === code
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

async function inWords<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw notWritten(path, error)
  }
}

/** False where there was none. */
async function discard(path: string): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}

function temporaryBeside(path: string): string {
  // Process ids repeat across PID namespaces that share the folder: the time tells their files apart.
  const unique = `${process.pid}-${Date.now().toString(36)}-${process.hrtime.bigint().toString(36)}-${serial++}`
  return join(dirname(path), `.polder-${unique}.tmp`)
}

async function writeTemporary(path: string, content: string | Uint8Array, mode?: number): Promise<string> {
  const temporary = temporaryBeside(path)
  const file = await open(temporary, 'wx')
  try {
    await writeThrough(file, content, mode)
  } catch (error) {
    await discard(temporary).catch(() => {})
    throw error
  }
  return temporary
}

async function writeThrough(file: FileHandle, content: string | Uint8Array, mode?: number): Promise<void> {
  try {
    if (mode !== undefined) await file.chmod(mode)
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Takes the name by an empty file: exclusive where there is no link(2), but a power cut may leave it empty. */
async function reserve(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx')
    await file.close()
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } catch (error) {
    if (!FOLDER_SYNC_UNSUPPORTED.has(codeOf(error))) throw error
  } finally {
    await folder.close()
  }
}
