/**
 * The kinds a person can name on the command line, and the words for them. Attachments and problems are no cluster
 * objects: they can be read but not applied, and an attachment belongs to one node.
 */
import type { Kind } from '../daemon/cluster/objects.ts'
import { nearest } from '../daemon/config/nearest.ts'
import { PolderError } from '../daemon/errors.ts'

export interface KindWord {
  kind: Kind | 'Attachment' | 'Problem'
  /** As printed in `pod/NAME`. */
  singular: string
  plural: string
  short: string[]
  namespaced: boolean
}

export const KIND_WORDS: KindWord[] = [
  { kind: 'Pod', singular: 'pod', plural: 'pods', short: ['po'], namespaced: true },
  { kind: 'Node', singular: 'node', plural: 'nodes', short: ['no'], namespaced: false },
  { kind: 'Namespace', singular: 'namespace', plural: 'namespaces', short: ['ns'], namespaced: false },
  { kind: 'Service', singular: 'service', plural: 'services', short: ['svc'], namespaced: true },
  { kind: 'EndpointSlice', singular: 'endpointslice', plural: 'endpointslices', short: [], namespaced: true },
  { kind: 'Attachment', singular: 'attachment', plural: 'attachments', short: ['att'], namespaced: false },
  { kind: 'Problem', singular: 'problem', plural: 'problems', short: [], namespaced: false },
]

export interface ObjectWord {
  word: KindWord & { kind: Kind }
  name: string
}

export function wordOf(kind: KindWord['kind']): KindWord {
  return KIND_WORDS.find((word) => word.kind === kind)!
}

export function parseKind(text: string): KindWord {
  const asked = text.toLowerCase()
  const found = KIND_WORDS.find((word) => [word.singular, word.plural, ...word.short].includes(asked))
  if (found !== undefined) return found
  const meant = nearest(
    asked,
    KIND_WORDS.flatMap((word) => [word.plural, word.singular, ...word.short]),
  )
  throw new PolderError(
    'unknown-kind',
    `There is no kind "${text}".`,
    `${meant === undefined ? '' : `Did you mean ${meant}? `}The kinds are: ${KIND_WORDS.map(describeWord).join(', ')}`,
  )
}

function describeWord(word: KindWord): string {
  return word.short.length === 0 ? word.plural : `${word.plural} (${word.short.join(', ')})`
}

/** `pod NAME...`, `pods,nodes` or `pod/NAME node/NAME`: kinds, each with one name or none. */
export function parseTargets(words: string[]): { word: KindWord; name?: string }[] {
  if (words.some((word) => word.includes('/'))) return words.map(parseSlashed)
  const [kinds, ...names] = words
  const found = kinds!.split(',').map(parseKind)
  if (names.length === 0) return found.map((word) => ({ word }))
  return found.flatMap((word) => names.map((name) => ({ word, name })))
}

/** As parseTargets, for commands that act on one named object each, of a kind that lies in the cluster store. */
export function parseObjects(words: string[], command: string): ObjectWord[] {
  return parseTargets(words).map(({ word, name }) => {
    if (name === undefined) {
      throw new PolderError('invalid', `Which ${word.singular}?`, `Say: polder ${command} ${word.singular} NAME`)
    }
    return { word: requireObjectKind(word, command), name }
  })
}

export function requireObjectKind(word: KindWord, command: string): KindWord & { kind: Kind } {
  if (word.kind !== 'Attachment' && word.kind !== 'Problem') return word as KindWord & { kind: Kind }
  throw new PolderError(
    'invalid',
    `polder ${command} does not work on ${word.plural}.`,
    `They can only be read: polder get ${word.plural}`,
  )
}

/** A pod as `exec` and `logs` take it: NAME or pod/NAME. */
export function parsePodName(text: string): string {
  if (!text.includes('/')) return text
  const { word, name } = parseSlashed(text)
  if (word.kind === 'Pod') return name
  throw new PolderError('invalid', `${text} is not a pod.`, `Name a pod: NAME or pod/NAME`)
}

function parseSlashed(text: string): { word: KindWord; name: string } {
  const [kind, name, ...rest] = text.split('/')
  if (kind && name && rest.length === 0) return { word: parseKind(kind), name }
  throw new PolderError(
    'invalid',
    `"${text}" is not KIND/NAME.`,
    'Say KIND NAME..., or KIND/NAME for every object: pod/a pod/b',
  )
}
