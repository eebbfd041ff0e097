/** The kept inputs of a target: test/vectors/corpus/TARGET.hex, one a line in hex, the short ones first. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromHex, toHex } from '../support/hex.ts'

const FOLDER = join(import.meta.dirname, '../vectors/corpus')

export function readCorpus(target: string): Uint8Array[] {
  const file = join(FOLDER, `${target}.hex`)
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).map(fromHex)
}

export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  const lines = [...new Set(inputs.map(toHex))].sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
  // The empty one is the first that everybody tries, and no line.
  writeFileSync(
    join(FOLDER, `${target}.hex`),
    lines
      .filter(Boolean)
      .map((line) => `${line}\n`)
      .join(''),
  )
}
