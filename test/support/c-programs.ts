/** The tests' own C programs, compiled into build/test when their sources are newer. Needs gcc. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'

const BUILT = join(import.meta.dirname, '../../build/test')
const FLAGS = ['-std=gnu11', '-O2', '-g', '-Wall', '-Wextra', '-Werror', '-pthread']

/** The path of the program made from every .c file of test/support/NAME; `flags` for what is no program. */
export function compiled(name: string, ...flags: string[]): string {
  const folder = join(import.meta.dirname, name)
  const sources = readdirSync(folder).map((file) => join(folder, file))
  const target = join(BUILT, name)
  const builtMs = statSync(target, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (sources.every((source) => statSync(source).mtimeMs < builtMs)) return target
  mkdirSync(BUILT, { recursive: true })
  // Another test file may compile it at the same time.
  const fresh = `${target}.${process.pid}`
  execFileSync('gcc', [...FLAGS, ...flags, '-o', fresh, ...sources.filter((source) => source.endsWith('.c'))])
  renameSync(fresh, target)
  return target
}
