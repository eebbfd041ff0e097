/** Reads what `get` and `describe` show: from any daemon, except attachments, which each daemon has of its own node. */

import { nearest } from '../daemon/config/nearest.ts'
import { PolderError } from '../daemon/errors.ts'
import type { NodeAttachment, Row } from './columns.ts'
import type { Daemons } from './daemons.ts'
import type { KindWord } from './kinds.ts'
import { nameOf } from './output.ts'

/** All of a kind, sorted by namespace and name; `namespace` undefined is all namespaces. */
export async function listRows(daemons: Daemons, word: KindWord, namespace?: string): Promise<Row[]> {
  const { client } = daemons.first
  if (word.kind === 'Attachment') return listAttachments(daemons)
  if (word.kind === 'Problem') {
    return (await client.problems()).map((problem) => ({ ...problem, kind: 'Problem' as const }))
  }
  const rows: Row[] = await client.list(word.kind, word.namespaced ? namespace : undefined)
  return rows.sort(byNamespaceAndName)
}

export async function getRow(daemons: Daemons, word: KindWord, name: string, namespace: string): Promise<Row> {
  if (word.kind !== 'Attachment' && word.kind !== 'Problem') {
    const row = await daemons.first.client.find(word.kind, name, word.namespaced ? namespace : undefined)
    if (row !== undefined) return row
  }
  const rows = await listRows(daemons, word, namespace)
  const names = rows.map((row) => nameOf(row).slice(word.singular.length + 1))
  // An attachment's name is a container's id: as with containers, its beginning is enough.
  const matches = word.kind === 'Attachment' ? rows.filter((_, index) => names[index]!.startsWith(name)) : []
  if (matches.length === 1) return matches[0]!
  throw notFound(word, name, names, word.namespaced ? namespace : undefined)
}

function notFound(word: KindWord, name: string, names: string[], namespace: string | undefined): PolderError {
  const meant = nearest(name, names)
  const hint = meant === undefined ? '' : `Did you mean ${meant}? `
  const scope = namespace === undefined ? '' : ' -A'
  return new PolderError(
    'not-found',
    `${word.singular} "${name}" not found${namespace === undefined ? '' : ` in namespace ${namespace}`}.`,
    `${hint}See what there is: polder get ${word.plural}${scope}`,
  )
}

async function listAttachments(daemons: Daemons): Promise<NodeAttachment[]> {
  const perNode = await Promise.all(
    daemons.all.map(async ({ client, info }) =>
      (await client.attachments()).map((each) => ({ ...each, kind: 'Attachment' as const, node: info.name })),
    ),
  )
  return perNode.flat()
}

function byNamespaceAndName(a: Row, b: Row): number {
  const keyOf = (row: Row) => ('metadata' in row ? `${row.metadata.namespace ?? ''}/${row.metadata.name}` : '')
  return keyOf(a) < keyOf(b) ? -1 : 1
}
