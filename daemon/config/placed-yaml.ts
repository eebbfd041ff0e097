/**
 * YAML (and JSON, which is YAML) in which everything knows its line and column, so that a mistake can be named with its
 * place: `polder.yaml:3:12`. A YAML null is "not given", as in Kubernetes: keys with null are left out of `value`.
 *
 * It does not check what the values mean; settings.ts and cluster/schema.ts do.
 */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml'

export type Path = readonly PropertyKey[]

export interface PlacedDocument {
  /** Plain data; undefined for a document without content. */
  value: unknown
  /** `FILE:LINE:COLUMN` of the value at `path`, or of the nearest thing around it where there is none. */
  placeOf(path: Path): string
  /** As placeOf, of the key rather than of its value. */
  placeOfKey(path: Path): string
}

export interface PlacedText {
  documents: PlacedDocument[]
  /** Mistakes of syntax, each with its place; `documents` is empty then. */
  mistakes: string[]
}

export function parsePlaced(text: string, file: string): PlacedText {
  const lines = new LineCounter()
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}`
  }
  const parse = () =>
    parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true, stringKeys: true })
  try {
    const json = placedJson(text, () => parse()[0]!, at)
    if (json !== undefined) return { documents: [json], mistakes: [] }
    const parsed = parse()
    // An empty stream is an array with extra properties and no documents in it.
    const documents: Document[] = Array.isArray(parsed) ? [...parsed] : []
    const mistakes = documents.flatMap((document) =>
      document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`),
    )
    if (mistakes.length > 0) return { documents: [], mistakes }
    return { documents: documents.map((document) => placed(document, at)), mistakes: [] }
  } catch (error) {
    // Nesting deeper than the stack (RangeError) and aliases that multiply beyond reason (ReferenceError).
    const reason = error instanceof RangeError ? 'is nested too deeply' : (error as Error).message
    return { documents: [], mistakes: [`${file}: ${reason}`] }
  }
}

/**
 * JSON is read some thirty times as fast by its own parser: thousands of objects that a program wrote are. Where its
 * values stand is only found out when somebody asks. Undefined for what is no JSON object.
 */
function placedJson(text: string, parse: () => Document, at: (offset: number) => string): PlacedDocument | undefined {
  if (!/^\s*\{/.test(text)) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  let document: Document | undefined
  const offsetOf = (path: Path, key: boolean): number => {
    document ??= parse()
    return locate(document, path, key)
  }
  return {
    value: withoutNulls(value),
    placeOf: (path) => at(offsetOf(path, false)),
    placeOfKey: (path) => at(offsetOf(path, true)),
  }
}

function placed(document: Document, at: (offset: number) => string): PlacedDocument {
  return {
    value: withoutNulls(document.toJS({ maxAliasCount: 100 })),
    placeOf: (path) => at(locate(document, path, false)),
    placeOfKey: (path) => at(locate(document, path, true)),
  }
}

/** Offset of what stands at `path`: of its value, or of its key where that is asked for or the value is empty. */
function locate(document: Document, path: Path, key: boolean): number {
  let node: unknown = document.contents
  let offset = startOf(node) ?? document.range?.[0] ?? 0
  for (const [depth, segment] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find((item) => String(item.key) === String(segment))
      if (pair === undefined) return offset
      const keyWanted = (key && depth === path.length - 1) || isEmptyScalar(pair.value)
      offset = startOf(keyWanted ? pair.key : pair.value) ?? offset
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(segment)]
      offset = startOf(node) ?? offset
    } else {
      return offset
    }
  }
  return offset
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}

function isEmptyScalar(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null)
}

function withoutNulls(value: unknown): unknown {
  if (value === null) return undefined
  if (Array.isArray(value)) return value.map((item) => (item === null ? null : withoutNulls(item)))
  if (typeof value !== 'object') return value
  const entries = Object.entries(value as object).filter(([, item]) => item !== null)
  return Object.fromEntries(entries.map(([key, item]) => [key, withoutNulls(item)]))
}

/** `spec.containers[0].image` */
export function showPath(path: Path): string {
  return path.reduce<string>((text, segment) => {
    if (typeof segment === 'number') return `${text}[${segment}]`
    return text === '' ? String(segment) : `${text}.${String(segment)}`
  }, '')
}

/** A value as it may stand in an error message: on one line and never longer than a line. */
export function showValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 77)}…` : text
}
