/**
 * The folders that polderd writes to, made and tried before anything else is touched: a wrong path, a read-only or full
 * disk is an error that names the path and its setting, not a surprise in the middle of work.
 */
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { PolderError } from '../errors.ts'

/** Makes the folder where it is missing, and writes a file into it to see that this works. */
export function prepareFolder(setting: string, path: string): void {
  try {
    make(path)
    const probe = join(path, `.probe-${process.pid}`)
    try {
      writeFileSync(probe, 'polder')
    } finally {
      rmSync(probe, { force: true })
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new PolderError(
      'bad-folder',
      `polderd cannot write to ${path}: ${code ?? message}`,
      `Mend that, or set ${setting} to a folder on a disk with room that root may write to.`,
    )
  }
}

/** Step by step: Node's recursive mkdir never ends where the kernel answers ENOENT for a parent that exists (/proc). */
function make(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
  if (dirname(path) !== path) make(dirname(path))
  try {
    mkdirSync(path)
  } catch (error) {
    // Another polderd of this machine may make the shared folder at the same moment.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(path).isDirectory()) throw error
  }
}
