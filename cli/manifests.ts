/**
 * Reads what `-f` names: a file, `-` for standard input, or a folder (its .yaml, .yml and .json files in order of name,
 * not those below). Everything is read and checked before anything is sent; warnings go to stderr.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import type { ClusterObject } from '../daemon/cluster/objects.ts'
import { PolderError } from '../daemon/errors.ts'

/** `namespace` is for objects that name none; one that names another is a mistake. */
export async function readManifests(places: string[], namespace: string | undefined): Promise<ClusterObject[]> {
  // Loaded here, because the schemas and YAML take longer to load than most commands take to run.
  const { parseManifests } = await import('../daemon/cluster/schema.ts')
  const objects: ClusterObject[] = []
  for (const place of places.flatMap(expandFolder)) {
    const parsed = parseManifests(await readPlace(place), place === '-' ? 'standard input' : place, namespace)
    for (const object of parsed.objects) checkNamespace(object, namespace, place)
    for (const warning of parsed.warnings) process.stderr.write(`Warning: ${warning}\n`)
    objects.push(...parsed.objects)
  }
  if (objects.length > 0) return objects
  throw new PolderError(
    'invalid',
    `There are no objects in ${places.join(', ')}.`,
    'Give a file with a manifest in it.',
  )
}

function checkNamespace({ kind, metadata }: ClusterObject, namespace: string | undefined, place: string): void {
  if (namespace === undefined || metadata.namespace === undefined || metadata.namespace === namespace) return
  throw new PolderError(
    'invalid',
    `${place}: ${kind} "${metadata.name}" is of namespace ${metadata.namespace}, not ${namespace}.`,
    `Say -n ${metadata.namespace}, or leave -n out.`,
  )
}

function expandFolder(place: string): string[] {
  if (place === '-') return [place]
  try {
    if (!statSync(place).isDirectory()) return [place]
    const names = readdirSync(place).filter((name) => /\.(yaml|yml|json)$/.test(name))
    return names.sort().map((name) => path.join(place, name))
  } catch (error) {
    throw cannotRead(place, error as NodeJS.ErrnoException)
  }
}

async function readPlace(place: string): Promise<string> {
  if (place === '-') return text(process.stdin)
  try {
    return readFileSync(place, 'utf8')
  } catch (error) {
    throw cannotRead(place, error as NodeJS.ErrnoException)
  }
}

function cannotRead(place: string, error: NodeJS.ErrnoException): PolderError {
  if (error.code === 'ENOENT') {
    const remedy = 'Check the path; -f takes a file, a folder, or - for standard input.'
    return new PolderError('no-such-file', `There is no file ${place}.`, remedy)
  }
  return new PolderError('unreadable', `Cannot read ${place}: ${error.message}`, 'Check its permissions.')
}
