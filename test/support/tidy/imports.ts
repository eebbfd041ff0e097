/**
 * Who may import whom. Arrows point one way: packet stands alone, daemon stands on packet, cli talks to the daemon
 * through its API; nobody imports cli, scripts, bench or test.
 */
import { posix } from 'node:path'
import { maskTypescript } from './functions.ts'
import type { Rule } from './rules.ts'
import { folderOf, lineAt, type SourceFile } from './tree.ts'

/** What code of the folder may import of the others. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  packet: ['packet'],
  daemon: ['packet', 'daemon'],
  cli: ['packet', 'cli'],
  scripts: ['packet', 'daemon', 'cli', 'scripts'],
  bench: ['packet', 'daemon', 'cli', 'bench', 'test'],
  test: ['packet', 'daemon', 'cli', 'scripts', 'bench', 'test'],
}

/** Of the daemon the cli may import any type, and at run time only these: pure, and part of the API or of manifests. */
export const CLI_MAY_USE: readonly string[] = [
  'daemon/errors.ts', // the one error that commands print
  'daemon/api/types.ts', // the numbers of exec's channels
  'daemon/api/exec-frames.ts', // the frames of exec, for both sides
  'daemon/cluster/objects.ts', // nodeOf(): where a pod is bound
  'daemon/cluster/deletion.ts', // how long a pod has to end
  'daemon/cluster/probe-objects.ts', // defaults of probes
  'daemon/cluster/service-objects.ts', // what was given to a Service
  'daemon/control/endpoints.ts', // who stands behind a Service, as the data path is told
  'daemon/cluster/schema.ts', // apply checks manifests before it sends them
  'daemon/config/nearest.ts', // "did you mean"
]

interface Import {
  line: number
  specifier: string
  typeOnly: boolean
}

/** `import ... from`, `export ... from`, `import 'x'`, `import('x')`, and a worker's `new URL('x.ts', import.meta.url)`. */
const IMPORT = /\b(?:(import|export)(\s+type)?(?:\s+[\w*{][^'";]*?\sfrom)?\s+|import\(\s*|new\s+URL\(\s*)(?=['"])/g

export function importsOf(text: string): Import[] {
  // An import inside a string is none; where there is one, its specifier is read from the text itself.
  return [...maskTypescript(text).matchAll(IMPORT)].flatMap((match) => {
    const specifier = text.slice(match.index + match[0].length).match(/^(['"])(.*?)\1/)?.[2] ?? ''
    const isUrl = match[0].startsWith('new')
    if (isUrl && !specifier.endsWith('.ts')) return []
    const path = isUrl && !specifier.startsWith('.') ? `./${specifier}` : specifier
    return [{ line: lineAt(text, match.index), specifier: path, typeOnly: match[2] !== undefined }]
  })
}

export const importDirections: Rule = (files) =>
  files
    .filter(({ path }) => path.endsWith('.ts'))
    .flatMap((file) => importsOf(file.text).flatMap((one) => judge(file, one)))

function judge({ path }: SourceFile, { line, specifier, typeOnly }: Import): string[] {
  const [own = ''] = path.split('/')
  const place = `${path}:${line}: imports ${specifier}:`
  if (own === 'packet' && specifier.startsWith('node:'))
    return [`${place} packet/ knows no Node; pass it in as an argument`]
  if (!specifier.startsWith('.')) return []
  const target = posix.join(folderOf(path), specifier)
  const [area = ''] = target.split('/')
  if (!(area in MAY_IMPORT)) return []
  if (MAY_IMPORT[own]?.includes(area)) return []
  if (own === 'cli' && area === 'daemon') {
    if (typeOnly || CLI_MAY_USE.includes(target)) return []
    return [`${place} cli/ may use types of daemon/, and at run time only ${CLI_MAY_USE.join(', ')}`]
  }
  return [`${place} ${own}/ may import ${MAY_IMPORT[own]?.join('/, ') ?? 'nothing'}/ only`]
}
