/**
 * Reads manifests and store files: YAML or JSON, several documents in one text, `kind: List` too. Every mistake is named
 * with its place, value and what is allowed, all of them at once. What Kubernetes knows and polder does not act on
 * (unsupported-fields.ts) is left out with a warning. The shapes themselves are in shapes.ts.
 */
import type { z } from 'zod'
import { suggestion } from '../config/nearest.ts'
import { type Path, type PlacedDocument, parsePlaced, showPath, showValue } from '../config/placed-yaml.ts'
import { PolderError } from '../errors.ts'
import { type ClusterObject, type Kind, NAMESPACED } from './objects.ts'
import { KINDS, OBJECT_SCHEMAS } from './shapes.ts'
import { UNSUPPORTED_FIELDS } from './unsupported-fields.ts'

export const MANIFEST_BYTES_MAX = 1024 * 1024
const MISTAKES_LISTED_MAX = 30

export interface Manifests {
  objects: ClusterObject[]
  /** `pod.yaml:9:3 spec.volumes: is not supported and ignored` */
  warnings: string[]
}

/** A mapping before it is checked, with the fields that are looked at first. */
interface Untyped {
  kind?: unknown
  metadata?: unknown
  namespace?: unknown
  items?: unknown
  status?: unknown
  [field: string]: unknown
}

/** Where findings about one value go, and how to name their places. */
interface Report {
  mistakes: string[]
  warnings: string[]
  /** Path of the value inside its document: `items[0]` for one of a List. */
  root: Path
  document: Pick<PlacedDocument, 'placeOf' | 'placeOfKey'>
}

/**
 * `place` is what the text is called in messages, such as its file name; `namespace` is that of namespaced
 * objects that name none. Throws a PolderError `bad-manifest`.
 */
export function parseManifests(text: string, place: string, namespace = 'default'): Manifests {
  if (Buffer.byteLength(text) > MANIFEST_BYTES_MAX) {
    throw badManifest([`${place}: is longer than ${MANIFEST_BYTES_MAX} bytes`])
  }
  const { documents, mistakes } = parsePlaced(text, place)
  const warnings: string[] = []
  const objects: ClusterObject[] = []
  for (const document of documents) {
    if (document.value === undefined) continue
    const report: Report = { mistakes, warnings, root: [], document }
    for (const item of itemsOf(document.value, report)) {
      fillNamespace(item.value, namespace)
      const object = checkValue(item.value, { ...report, root: item.root })
      if (object !== undefined) objects.push(object)
    }
  }
  if (mistakes.length > 0) throw badManifest(mistakes)
  return { objects, warnings }
}

/** The object with defaults filled in and without status, as it may be stored. Throws a PolderError `bad-manifest`. */
export function checkObject(object: ClusterObject): ClusterObject {
  const place = () => `${object.kind} ${object.metadata?.name}:`
  const report: Report = { mistakes: [], warnings: [], root: [], document: { placeOf: place, placeOfKey: place } }
  const checked = checkValue(structuredClone(object), report)
  if (checked === undefined) throw badManifest(report.mistakes)
  return checked
}

function badManifest(mistakes: string[]): PolderError {
  const listed = mistakes.slice(0, MISTAKES_LISTED_MAX)
  if (listed.length < mistakes.length) listed.push(`and ${mistakes.length - listed.length} more`)
  const message = mistakes.length === 1 ? mistakes[0]! : `${mistakes.length} mistakes:\n  ${listed.join('\n  ')}`
  return new PolderError('bad-manifest', message, 'Correct the manifest and try again; nothing of it was applied.')
}

function itemsOf(value: unknown, report: Report): { value: unknown; root: Path }[] {
  if (!isRecord(value) || value.kind !== 'List') return [{ value, root: [] }]
  const items = value.items ?? []
  if (!Array.isArray(items)) {
    addMistake(report, ['items'], items, 'must be a list of objects')
    return []
  }
  return items.map((item, index) => ({ value: item, root: ['items', index] }))
}

function fillNamespace(value: unknown, namespace: string): void {
  if (!isRecord(value) || NAMESPACED[value.kind as Kind] !== true || !isRecord(value.metadata)) return
  value.metadata.namespace ??= namespace
}

/** Adds to the report what is wrong; undefined then. Takes unsupported fields out of `value`. */
function checkValue(value: unknown, report: Report): ClusterObject | undefined {
  if (!isRecord(value)) {
    addMistake(report, [], value, 'must be an object with apiVersion, kind, metadata and spec')
    return undefined
  }
  const kind = kindOf(value, report)
  if (kind === undefined) return undefined
  if ('status' in value) warnUnlessEmpty(report, ['status'], value.status, 'is written by polder and ignored')
  delete value.status
  const knownFields = new Map<string, string[]>()
  const options = { error: (issue: z.core.$ZodRawIssue) => describe(issue, knownFields) }
  const first = OBJECT_SCHEMAS[kind].safeParse(value, options)
  if (!first.success) stripUnsupported(value, kind, first.error.issues, report)
  const result = first.success ? first : OBJECT_SCHEMAS[kind].safeParse(value, options)
  if (result.success) return result.data
  for (const issue of result.error.issues) {
    if (issue.code !== 'unrecognized_keys') {
      addMistake(report, issue.path, valueAt(value, issue.path), issue.message)
      continue
    }
    const known = [...(knownFields.get(showPath(issue.path)) ?? []), ...unsupportedAt(kind, issue.path)]
    for (const key of issue.keys) {
      const path = [...report.root, ...issue.path, key]
      report.mistakes.push(
        `${report.document.placeOfKey(path)} ${showPath(path)}: is not known${suggestion(key, known)}`,
      )
    }
  }
  return undefined
}

function kindOf(value: Untyped, report: Report): Kind | undefined {
  const kind = KINDS.find((one) => one === value.kind)
  if (kind !== undefined) return kind
  const allowed = `must be one of ${KINDS.join(', ')}`
  const near = typeof value.kind === 'string' ? suggestion(value.kind, KINDS) : ''
  addMistake(report, ['kind'], value.kind, `${allowed}${near}`)
  return undefined
}

/** Takes out of `value` what Kubernetes knows and polder does not, with a warning where it says anything. */
function stripUnsupported(value: object, kind: Kind, issues: readonly z.core.$ZodIssue[], report: Report): void {
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue
    const fields = unsupportedAt(kind, issue.path)
    const holder = valueAt(value, issue.path) as Record<string, unknown>
    for (const key of issue.keys.filter((one) => fields.includes(one))) {
      warnUnlessEmpty(report, [...issue.path, key], holder[key], 'is not supported and ignored')
      delete holder[key]
    }
    // `valueFrom: {secretKeyRef: …}` says nothing any more: as if it were not there.
    const last = issue.path.at(-1)
    if (Object.keys(holder).length === 0 && typeof last === 'string') {
      delete (valueAt(value, issue.path.slice(0, -1)) as Record<string, unknown>)[last]
    }
  }
}

function unsupportedAt(kind: Kind, path: Path): readonly string[] {
  return UNSUPPORTED_FIELDS[kind][path.filter((segment) => typeof segment === 'string').join('.')] ?? []
}

function warnUnlessEmpty(report: Report, path: Path, value: unknown, message: string): void {
  const isEmpty = value === undefined || (typeof value === 'object' && Object.keys(value as object).length === 0)
  if (isEmpty) return
  const whole = [...report.root, ...path]
  report.warnings.push(`${report.document.placeOfKey(whole)} ${showPath(whole)}: ${message}`)
}

function addMistake(report: Report, path: Path, value: unknown, message: string): void {
  const whole = [...report.root, ...path]
  const name = whole.length === 0 ? '' : ` ${showPath(whole)}`
  const subject = value === undefined ? 'is missing;' : isRecord(value) || Array.isArray(value) ? '' : showValue(value)
  report.mistakes.push(`${report.document.placeOf(whole)}${name}: ${subject} ${message}`.replace(/: +/g, ': '))
}

/** zod's finding as the end of a sentence; those with a message of their own never come here. */
function describe(issue: z.core.$ZodRawIssue, knownFields: Map<string, string[]>): string {
  switch (issue.code) {
    case 'unrecognized_keys': {
      const { shape } = (issue.inst as unknown as z.ZodObject).def
      knownFields.set(showPath(issue.path ?? []), Object.keys(shape))
      return 'is not known'
    }
    case 'invalid_type': {
      const quotes = issue.expected === 'string' && ['number', 'boolean'].includes(typeof issue.input)
      return `must be ${TYPES[issue.expected] ?? issue.expected}${quotes ? ' (put it in quotes)' : ''}`
    }
    case 'invalid_value':
      return `must be ${issue.values
        .map(String)
        .join(', ')
        .replace(/, ([^,]*)$/, ' or $1')}`
    case 'too_small':
      return issue.origin === 'string' ? 'must not be empty' : `must be at least ${issue.minimum}`
    default:
      return `is not allowed (${issue.code})`
  }
}

const TYPES: Record<string, string> = {
  string: 'text',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  array: 'a list',
  object: 'a mapping of fields',
  record: 'a mapping of names to text',
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (holder, segment) => (holder as Record<PropertyKey, unknown> | undefined)?.[segment],
    value,
  )
}

function isRecord(value: unknown): value is Untyped {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
