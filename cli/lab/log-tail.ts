/** The end of a log file, indented, for an error message that has to explain itself. */
import { existsSync, readFileSync } from 'node:fs'

export function tail(file: string, lines = 12): string {
  const text = existsSync(file) ? readFileSync(file, 'utf8').trimEnd() : ''
  if (text === '') return `  (${file} is empty)`
  const last = text.split('\n').slice(-lines)
  return [`  the end of ${file}:`, ...last.map((line) => `  | ${line}`)].join('\n')
}
