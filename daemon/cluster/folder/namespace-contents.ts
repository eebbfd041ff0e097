/** What keeps a namespace from being deleted: itself, where it is always there, and what lies in it. */
import { join } from 'node:path'
import { PolderError } from '../../errors.ts'
import { NAMESPACED_FOLDERS, placeAt } from './layout.ts'
import { filesIn } from './store-file.ts'

/** Pods that end do not count: they may outlive their namespace. */
export function requireNamespaceEmpty(root: string, name: string): void {
  if (name === 'default') {
    throw new PolderError('namespace-needed', 'Namespace default cannot be deleted.', 'Delete the pods in it instead.')
  }
  const places = NAMESPACED_FOLDERS.flatMap((folder) => filesIn(root, join(folder, name))).map(placeAt)
  const held = places.flatMap((place) => (place && 'key' in place && place.part === 'spec' ? [place.key] : []))
  const [first] = held
  if (first === undefined) return
  const { kind } = first
  const names = held.flatMap((key) => (key.kind === kind ? [key.name] : [])).sort()
  const word = kind.toLowerCase()
  throw new PolderError(
    'namespace-not-empty',
    `Namespace ${name} still holds ${names.length === 1 ? word : `${word}s`} ${names.join(', ')}.`,
    `Delete them first: polder delete ${word} -n ${name} ${names.join(' ')}`,
  )
}
