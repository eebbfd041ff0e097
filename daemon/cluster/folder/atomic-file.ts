/**
 * Files that are there whole or not at all, also for other processes and after a crash: the text goes into a hidden file
 * in the same folder, is flushed to disk, and gets its name in one step. rename(2) replaces what is there, link(2) fails
 * where something is, so that exactly one of many processes creates a file.
 */
import { type FileHandle, link, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

const TEMPORARY = /^\.polder-.*\.tmp$/
const ABANDONED_AGE_MS = 60_000
/** What link(2) answers where the file system has no hard links (vboxsf, some FUSE and network file systems). */
const LINK_UNSUPPORTED = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'])

let serial = 0

export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = await writeTemporary(path, text)
  try {
    await rename(temporary, path)
  } catch (error) {
    await removeFile(temporary)
    throw error
  }
}

/** False where the file exists already. */
export async function createFile(path: string, text: string): Promise<boolean> {
  const temporary = await writeTemporary(path, text)
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    if (!LINK_UNSUPPORTED.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    return await createInPlace(path, text)
  } finally {
    await removeFile(temporary)
  }
}

/** False where there was none. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}

/** Removes what crashed writers left behind in `folder`. */
export async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!TEMPORARY.test(name)) continue
    const path = join(folder, name)
    const age = await stat(path).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    )
    if (age > ABANDONED_AGE_MS) await removeFile(path)
  }
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

async function writeTemporary(path: string, text: string): Promise<string> {
  // Process ids repeat across PID namespaces that share the folder: the time tells their files apart.
  const unique = `${process.pid}-${Date.now().toString(36)}-${process.hrtime.bigint().toString(36)}-${serial++}`
  const temporary = join(dirname(path), `.polder-${unique}.tmp`)
  await writeNew(await open(temporary, 'wx'), text)
  return temporary
}

/** Exclusive all the same, but a crash in the middle leaves a torn file: only where there is no link(2). */
async function createInPlace(path: string, text: string): Promise<boolean> {
  let file: FileHandle
  try {
    file = await open(path, 'wx')
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
  await writeNew(file, text)
  return true
}

async function writeNew(file: FileHandle, text: string): Promise<void> {
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}
