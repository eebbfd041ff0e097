/**
 * The system calls, socket families and namespaces that a systemd unit leaves its program, as the words that start a
 * program with no more than these (unit-sandbox/). What the groups of calls (@system-service) hold is asked of
 * systemd-analyze, the numbers of the C compiler: nothing of either is written down here.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { compiled } from './c-programs.ts'

export function sandboxOf(unit: string): string[] {
  const calls = settingOf(unit, 'SystemCallFilter').flatMap(callsOf)
  const families = settingOf(unit, 'RestrictAddressFamilies')
  const namespaces = settingOf(unit, 'RestrictNamespaces')
  if (namespaces.join() !== 'net') throw new Error(`unit-sandbox leaves net, not ${namespaces}`)
  // Not every architecture has every call.
  const callNumbers = numbersOf('sys/syscall.h', /^__NR_/)
  const familyNumbers = numbersOf('sys/socket.h', /^(?=AF_)/)
  const allowed = calls.flatMap((name) => callNumbers.get(name) ?? [])
  return [compiled('unit-sandbox'), allowed.join(), families.map((name) => familyNumbers.get(name)!).join()]
}

export function settingOf(unit: string, name: string): string[] {
  const [, words] = new RegExp(`^${name}=(.*)$`, 'm').exec(readFileSync(unit, 'utf8')) ?? []
  if (words === undefined) throw new Error(`${unit} has no ${name}`)
  return words.split(' ')
}

function callsOf(word: string): string[] {
  if (!word.startsWith('@')) return [word]
  const [, ...lines] = execFileSync('systemd-analyze', ['syscall-filter', word], { encoding: 'utf8' }).split('\n')
  const words = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  return words.flatMap(callsOf)
}

/** Of the constants whose names begin so, without that beginning. */
function numbersOf(header: string, beginning: RegExp): Map<string, number> {
  const defined = execFileSync('gcc', ['-E', '-dM', '-include', header, '-xc', '/dev/null'], { encoding: 'utf8' })
  const values = new Map([...defined.matchAll(/^#define (\w+) (\w+)$/gm)].map(([, name, value]) => [name!, value!]))
  // AF_UNIX is PF_UNIX, which is PF_LOCAL, which is 1.
  const numberOf = (value: string): number => Number(values.has(value) ? numberOf(values.get(value)!) : value)
  const names = [...values.keys()].filter((name) => beginning.test(name))
  return new Map(names.map((name) => [name.replace(beginning, ''), numberOf(name)]))
}
