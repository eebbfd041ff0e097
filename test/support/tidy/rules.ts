/**
 * The house rules that no compiler knows, each a pure function from the files to what is wrong with them: one line for
 * each finding, with its place and what to do. tidy.test.ts runs them on the checkout, and on examples that break them.
 */
import { functionsOf } from './functions.ts'
import { folderOf, languageOf, lineAt, type SourceFile } from './tree.ts'

export type Rule = (files: readonly SourceFile[]) => string[]

export const FILE_LINES_MAX = 500
export const FUNCTION_LINES_MAX = 70
export const README_LINES_MAX = 60

/** A program file by file; the rest of the tree is passed over. */
function eachProgram(files: readonly SourceFile[], look: (file: SourceFile) => string[]): string[] {
  return files.filter((file) => languageOf(file) !== undefined).flatMap(look)
}

function linesOf(text: string): number {
  return text.replace(/\n$/, '').split('\n').length
}

export const fileSizes: Rule = (files) =>
  eachProgram(files, ({ path, text }) => {
    const lines = linesOf(text)
    return lines > FILE_LINES_MAX
      ? [`${path}: ${lines} lines; at most ${FILE_LINES_MAX}: split it by what it does`]
      : []
  })

export const functionSizes: Rule = (files) =>
  eachProgram(files, (file) =>
    functionsOf(file.text, languageOf(file)!)
      .filter(({ lines }) => lines > FUNCTION_LINES_MAX)
      .map(
        ({ line, lines }) =>
          `${file.path}:${line}: a function of ${lines} lines; at most ${FUNCTION_LINES_MAX}: give its steps names`,
      ),
  )

export const openingComments: Rule = (files) =>
  eachProgram(files, (file) => {
    const comment = ['shell', 'ruby'].includes(languageOf(file)!) ? /^# \S/ : /^\/[*/]/
    const first = file.text.replace(/^#!.*\n/, '')
    return comment.test(first) ? [] : [`${file.path}:1: must open with a comment: what it is, how it works`]
  })

/** Put together here, so that this file does not find itself. */
const UNFINISHED = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b`, 'g')

export const nothingUnfinished: Rule = (files) =>
  files.flatMap(({ path, text }) =>
    [...text.matchAll(UNFINISHED)].map(
      (match) => `${path}:${lineAt(text, match.index)}: ${match[0]}: do it now, or write an issue`,
    ),
  )

const NARROWED = /\b(?:describe|suite|test|it|bench)(?:\.\w+)*\.(?:only|skip|todo|fails)\b/g

export const noTestLeftOut: Rule = (files) =>
  files
    .filter(({ path }) => path.startsWith('test/') && path.endsWith('.ts'))
    .flatMap(({ path, text }) =>
      [...text.matchAll(NARROWED)].map(
        (match) =>
          `${path}:${lineAt(text, match.index)}: ${match[0]}: mend the test or remove it (skipIf is for a missing program)`,
      ),
    )

const KEBAB_CASE = /^\.?[a-z0-9]+(?:[-.][a-z0-9]+)*$/
const ALLOWED_NAMES = /^(README|ARCHITECTURE|CONTRIBUTING|CHANGELOG)\.md$|^Vagrantfile$/
const NOTHING_SAID = new Set(['util', 'utils', 'helper', 'helpers', 'manager', 'managers', 'common', 'misc'])

export const fileNames: Rule = (files) =>
  files.flatMap(({ path }) => {
    const parts = path.split('/')
    const name = parts.at(-1)!
    const findings: string[] = []
    if (!parts.every((part) => KEBAB_CASE.test(part)) && !ALLOWED_NAMES.test(name)) {
      findings.push(`${path}: names are small letters, digits and hyphens`)
    }
    const empty = name.split(/[-.]/).find((word) => NOTHING_SAID.has(word))
    if (empty !== undefined) findings.push(`${path}: "${empty}" says nothing: name it by what it is`)
    return findings
  })

/** Beside the code, or one folder up. test/ mirrors the tree: its own README speaks for all of it. */
export const readmes: Rule = (files) => {
  const paths = new Set(files.map(({ path }) => path))
  const folders = new Set(files.filter((file) => languageOf(file) !== undefined).map(({ path }) => folderOf(path)))
  const missing = [...folders]
    .filter((folder) => folder !== '' && folder !== '.ci' && !folder.startsWith('test/'))
    .filter((folder) => {
      const parent = folderOf(folder)
      return !paths.has(`${folder}/README.md`) && (parent === '' || !paths.has(`${parent}/README.md`))
    })
    .map((folder) => `${folder}/: has code and no README.md: what lives here, what never does`)
  const long = files
    .filter(({ path }) => path.endsWith('/README.md') && !path.startsWith('docs/'))
    .filter(({ text }) => linesOf(text) >= README_LINES_MAX)
    .map(({ path, text }) => `${path}: ${linesOf(text)} lines; a folder's README has fewer than ${README_LINES_MAX}`)
  return [...missing, ...long]
}

export const rightSpelling: Rule = (files) =>
  files.flatMap(({ path, text }) =>
    [...text.matchAll(/\r|[ \t]+$/gm)]
      .filter(() => languageOf({ path, text }) !== undefined || path.endsWith('.md'))
      .map((match) => `${path}:${lineAt(text, match.index)}: white space at the end of a line`),
  )
