/** `polder get`: lists objects, or shows some by name; `-w` goes on and prints each change. */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { PolderError } from '../../daemon/errors.ts'
import { cells, headings, type Row, type View } from '../columns.ts'
import { examples, namespaceOption } from '../command.ts'
import { type Daemons, findDaemons } from '../daemons.ts'
import { type KindWord, parseTargets } from '../kinds.ts'
import { parseSelector } from '../labels.ts'
import { formatObjects, nameOf, type OutputFormat, parseFormat } from '../output.ts'
import { getRow, listRows } from '../rows.ts'
import { columnWidths, formatRow, formatTable } from '../table.ts'

const WATCH_POLL_MS = 500

interface GetOptions {
  namespace: string
  allNamespaces?: true
  output?: OutputFormat
  selector?: string
  showLabels?: true
  watch?: true
  headers: boolean
}

interface Group {
  word: KindWord
  rows: Row[]
}

export function getCommand(): Command {
  const command = new Command('get')
    .description('list pods, nodes, namespaces, attachments or problems')
    .argument('<kind>', 'pods (po), nodes (no), namespaces (ns), attachments (att), problems; or KIND/NAME')
    .argument('[name...]', 'only these')
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('-o, --output <format>', 'wide, yaml, json or name', parseFormat)
    .option('-l, --selector <labels>', 'only with these labels: key=value,key!=value,key,!key')
    .option('--show-labels', 'a column with the labels')
    .option('-w, --watch', 'go on, and print each change')
    .option('--no-headers', 'no line of headings')
  examples(namespaceOption(command), [
    ['polder get pods -A -o wide', 'all pods, with their addresses and nodes'],
    ['polder get pod testpod -o yaml', 'all there is about one pod'],
    ['polder get nodes', 'the nodes, and whether they are ready'],
    ['polder get pods -l app=web -w', 'follow the pods of one label'],
    ['polder get problems', 'files of the cluster folder that cannot be used'],
  ])
  return command.action(async (kind: string, names: string[], options: GetOptions, self: Command) => {
    const targets = parseTargets([kind, ...names])
    const daemons = await findDaemons(self)
    const single = targets.length === 1 && targets[0]!.name !== undefined
    if (options.watch) await watch(daemons, targets, options)
    else await print(await read(daemons, targets, options), single, options)
  })
}

async function read(
  daemons: Daemons,
  targets: { word: KindWord; name?: string }[],
  options: GetOptions,
): Promise<Group[]> {
  const selects = parseSelector(options.selector ?? '')
  const groups: Group[] = []
  for (const { word, name } of targets) {
    const namespace = options.allNamespaces ? undefined : options.namespace
    const rows =
      name === undefined
        ? await listRows(daemons, word, namespace)
        : [await getRow(daemons, word, name, options.namespace)]
    const chosen = rows.filter((row) => selects('metadata' in row ? row.metadata.labels : undefined))
    const group = groups.find((each) => each.word === word)
    if (group === undefined) groups.push({ word, rows: chosen })
    else group.rows.push(...chosen)
  }
  return groups
}

async function print(groups: Group[], single: boolean, options: GetOptions): Promise<void> {
  const { output } = options
  const rows = groups.flatMap((group) => group.rows)
  if (output === 'yaml' || output === 'json') {
    process.stdout.write(await formatObjects(rows, output, single))
    return
  }
  if (rows.length === 0) {
    const scoped = groups.every((group) => group.word.namespaced) && !options.allNamespaces
    process.stderr.write(`No resources found${scoped ? ` in ${options.namespace} namespace` : ''}.\n`)
    return
  }
  if (output === 'name') {
    process.stdout.write(rows.map((row) => `${nameOf(row)}\n`).join(''))
    return
  }
  const view = viewOf(options)
  const tables = groups
    .filter((group) => group.rows.length > 0)
    .map((group) => formatTable(tableOf(group, view, options)))
  process.stdout.write(tables.join('\n'))
}

function tableOf(group: Group, view: View, options: GetOptions): string[][] {
  const lines = group.rows.map((row) => cells(row, view))
  return options.headers ? [headings(group.word.kind, view), ...lines] : lines
}

function viewOf(options: GetOptions): View {
  return {
    wide: options.output === 'wide',
    namespaces: options.allNamespaces ?? false,
    labels: options.showLabels ?? false,
    nowMs: Date.now(),
  }
}

/** Reads again and again, and prints the lines that differ in more than their age; of a pod that went, one last line. */
async function watch(
  daemons: Daemons,
  targets: { word: KindWord; name?: string }[],
  options: GetOptions,
): Promise<never> {
  if (targets.length > 1 || (options.output !== undefined && options.output !== 'wide')) {
    throw new PolderError(
      'invalid',
      '-w follows one kind, or one object, as a table.',
      'Leave out the other kinds, names and -o formats.',
    )
  }
  const { word, name } = targets[0]!
  let shown = new Map<string, { row: Row; key: string }>()
  let widths: number[] | undefined
  for (;;) {
    const view = viewOf(options)
    const rows = await read(daemons, [{ word }], options)
    const current = new Map(
      rows[0]!.rows
        .filter((row) => name === undefined || nameOf(row) === `${word.singular}/${name}`)
        .map((row) => [identityOf(row), { row, key: cells(row, { ...view, nowMs: 0 }).join('\n') }]),
    )
    const changed = [...current].filter(([identity, { key }]) => shown.get(identity)?.key !== key)
    const lines = changed.map(([, { row }]) => cells(row, view))
    for (const [identity, { row }] of shown) if (!current.has(identity)) lines.push(goneCells(row, view))
    if (widths === undefined && options.headers && lines.length > 0) lines.unshift(headings(word.kind, view))
    if (lines.length > 0) widths = columnWidths(lines, widths)
    process.stdout.write(lines.map((line) => formatRow(line, widths!)).join(''))
    shown = current
    await delay(WATCH_POLL_MS)
  }
}

function identityOf(row: Row): string {
  return 'metadata' in row ? `${row.metadata.namespace ?? ''}/${nameOf(row)}/${row.metadata.uid ?? ''}` : nameOf(row)
}

function goneCells(row: Row, view: View): string[] {
  const line = cells(row, view)
  const status = headings(row.kind, view).indexOf('STATUS')
  return line.map((cell, column) => (column === status ? 'Terminating' : cell))
}
