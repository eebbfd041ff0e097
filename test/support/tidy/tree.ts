/**
 * The checkout as the house rules see it: every file that a person wrote, with its text. Read from disk, not from git,
 * so that a new file counts before it is added and a copy without git can be checked too.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface SourceFile {
  /** Relative to the checkout, with `/`. */
  path: string
  text: string
}

export type Language = 'typescript' | 'c' | 'shell' | 'ruby' | 'proto'

/** Made by programs, by other projects, or bytes. */
const NOT_OURS = new Set(['.git', '.vagrant', 'build', 'node_modules', 'test/vectors', 'LICENSE', 'package-lock.json'])

export function readTree(root: string, folder = ''): SourceFile[] {
  const files: SourceFile[] = []
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (NOT_OURS.has(path)) continue
    if (entry.isDirectory()) files.push(...readTree(root, path))
    else if (entry.isFile()) files.push({ path, text: readFileSync(join(root, path), 'utf8') })
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Undefined for what is no program: documents, manifests, settings. */
export function languageOf({ path, text }: SourceFile): Language | undefined {
  if (path.endsWith('.ts')) return 'typescript'
  if (/\.[ch]$/.test(path)) return 'c'
  if (path.endsWith('.proto')) return 'proto'
  if (path === 'Vagrantfile') return 'ruby'
  if (path.endsWith('.sh') || /^#!.*\b(ba)?sh\n/.test(text)) return 'shell'
  return undefined
}

export function folderOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '' : path.slice(0, slash)
}

export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length
}
