/**
 * Documents that list what the code has must list all of it, and nothing that it no longer has: settings and drop
 * reasons in the operating guide, files in the folders' READMEs, commands in the README.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { flagOf, SETTING_KEYS } from '../daemon/config/settings.ts'
import { DROP_REASONS } from '../packet/path/drop-reason.ts'
import { readTree } from './support/tidy/tree.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The cells of the table under a heading, row by row. */
function tableUnder(text: string, heading: string): string[][] {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
  const rows = [...(section ?? '').matchAll(/^\| (.*) \|$/gm)].map(([, row]) => row!.split(' | '))
  return rows.slice(1)
}

test('the operating guide has every setting with its flag', () => {
  const rows = tableUnder(read('docs/operating.md'), 'Settings')
  expect(rows.map(([name]) => name)).toEqual(SETTING_KEYS)
  expect(rows.map(([, flag]) => flag!.split(',')[0])).toEqual(SETTING_KEYS.map(flagOf))
})

test('the operating guide has every drop reason, in order, with what to do', () => {
  const rows = tableUnder(read('docs/operating.md'), 'Counters')
  expect(rows.map(([name]) => name)).toEqual(DROP_REASONS.slice(1).map(({ name }) => name))
  for (const { name, quiet, answer } of DROP_REASONS.slice(1)) {
    const text = rows.find(([reason]) => reason === name)![1]!
    expect([name, text.startsWith('quiet'), text.startsWith('answered')]).toEqual([
      name,
      quiet === true,
      answer !== undefined,
    ])
  }
})

test('the README shows commands that there are', () => {
  const commands = [...read('README.md').matchAll(/^ {4}(?:sudo \.\/scripts\/)?polder ([a-z]+)/gm)].map(
    ([, word]) => word!,
  )
  expect(commands.length).toBeGreaterThan(8)
  const known = new Set(readTree(ROOT, 'cli/commands').map(({ path }) => path.replace(/^.*\/|\.ts$/g, '')))
  expect(commands.filter((word) => word !== 'lab' && !known.has(word))).toEqual([])
})

test('files that documents name are there', () => {
  const tree = readTree(ROOT)
  const missing = tree
    .filter(({ path }) => path.endsWith('.md') && path !== 'CHANGELOG.md')
    .flatMap(({ path, text }) =>
      [...text.matchAll(/`([\w./-]+\.(?:ts|c|h|sh))`/g)]
        .map(([, name]) => name!)
        .filter((name) => !tree.some((file) => file.path === name || file.path.endsWith(`/${name}`)))
        .map((name) => `${path}: ${name}`),
    )
  expect(missing).toEqual([])
})

test('every claim about security names a test that there is', () => {
  const text = read('docs/security.md')
  const links = [...text.matchAll(/\[([^\]]+)\]\(\.\.\/(test\/[\w./-]+\.test\.ts)\)/g)]
  expect(links.length).toBeGreaterThan(25)
  const missing = links
    .map(([, title, file]) => ({ title: title!, file: file! }))
    .filter(({ title, file }) => !["'", '"', '`'].some((quote) => read(file).includes(`${quote}${title}${quote}`)))
  expect(missing).toEqual([])
  const rows = text.split('\n').filter((line) => line.startsWith('| ') && !/^\| [^|]*\|( *\|| for \|)/.test(line))
  expect(rows.filter((row) => !row.includes('.test.ts)'))).toEqual([])
})
