/**
 * Objects as programs read them: `-o yaml`, `-o json` (one object, or a List of them, as kubectl) and `-o name`. What
 * yaml and json print can be applied again.
 */
import { InvalidArgumentError } from 'commander'
import type { Row } from './columns.ts'
import { wordOf } from './kinds.ts'

export type OutputFormat = 'table' | 'wide' | 'yaml' | 'json' | 'name'

const FORMATS = ['wide', 'yaml', 'json', 'name']

/** For commander. */
export function parseFormat(text: string): OutputFormat {
  if (FORMATS.includes(text)) return text as OutputFormat
  throw new InvalidArgumentError(`The formats are ${FORMATS.join(', ')}.`)
}

export async function formatObjects(rows: Row[], format: 'yaml' | 'json', single: boolean): Promise<string> {
  const objects = rows.map(withoutMarks)
  const value = single && objects.length === 1 ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects }
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`
  const { stringify } = await import('yaml')
  return stringify(value, { lineWidth: 0 })
}

export function nameOf(row: Row): string {
  if (row.kind === 'Problem') return row.place
  const name = row.kind === 'Attachment' ? row.containerId : row.metadata.name
  return `${wordOf(row.kind).singular}/${name}`
}

/** Attachments and problems carry a kind only inside the CLI. */
function withoutMarks(row: Row): object {
  if (row.kind !== 'Attachment' && row.kind !== 'Problem') return row
  const { kind: _, ...record } = row
  return record
}
