/**
 * Local links in Markdown: the file or folder must be there, and where a heading is named, so must that be. Links into
 * the world are not followed. What stands in code is no link.
 */
import { posix } from 'node:path'
import type { Rule } from './rules.ts'
import { folderOf, lineAt } from './tree.ts'

const LINK = /!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]\n]+\]:\s*(\S+)/gm

export const localLinks: Rule = (files) => {
  const texts = new Map(files.map(({ path, text }) => [path, text]))
  const there = new Set<string>(['', 'LICENSE', 'test/vectors', 'test/vectors/README.md'])
  for (const { path } of files) for (let at = path; at !== ''; at = folderOf(at)) there.add(at)
  return files
    .filter(({ path }) => path.endsWith('.md'))
    .flatMap(({ path, text }) =>
      linksOf(text).flatMap(({ target, line }) => {
        const [file = '', heading] = target.split('#')
        const wanted = file === '' ? path : posix.join(folderOf(path), file).replace(/\/$/, '').replace(/^\.$/, '')
        if (!there.has(wanted)) return [`${path}:${line}: links to ${target}, which is not there`]
        if (heading === undefined || headingsOf(texts.get(wanted) ?? '').has(heading)) return []
        return [`${path}:${line}: links to ${target}, but ${wanted} has no such heading`]
      }),
    )
}

function linksOf(text: string): { target: string; line: number }[] {
  return [...withoutCode(text).matchAll(LINK)]
    .map((match) => ({ target: (match[1] ?? match[2])!, line: lineAt(text, match.index) }))
    .filter(({ target }) => !/^[a-z][a-z+.-]*:/i.test(target))
}

/** Blanked, not cut out: lines keep their numbers. */
function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```|`[^`\n]*`/gm, (code) => code.replace(/[^\n]/g, ' '))
}

/** Headings as links name them: small letters, no punctuation, hyphens for spaces. */
function headingsOf(text: string): Set<string> {
  const headings = text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+\s+(.*?)\s*$/gm)
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  )
}
