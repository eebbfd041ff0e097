/** The outcome of a bench as a table for people, and as the JSON file for programs. */
import type { Contest } from './contests.ts'
import type { Machine } from './machine.ts'
import { formatValue, type Outcome, type Row, ratioOf } from './rounds.ts'
import { type Summary, summarise } from './statistics.ts'

/** What a reader must know beside the figures. */
export interface Report {
  machine: Machine
  date: string
  rounds: number
  seconds: number
  /** Name and description of every peer and measure that took part. */
  peers: Record<string, string>
  measures: Record<string, string>
  outcomes: Outcome[]
}

const BUSY_LIMIT = 0.1

export function printTable(report: Report): string {
  const { machine, rounds, seconds, outcomes } = report
  const lines = [
    `polder bench, ${report.date}: ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, ${seconds} s a measurement`,
    `Linux ${machine.kernel}, ${machine.cores} × ${machine.cpu}`,
  ]
  if (machine.busy > BUSY_LIMIT) {
    const share = Math.round(machine.busy * 100)
    lines.push(`Beware: other programs used ${share} % of the CPUs when it began; the figures are off.`)
  }
  for (const outcome of outcomes) lines.push('', ...printOutcome(outcome))
  lines.push('', 'Median of the rounds (lowest–highest). Ratios are polder to the other, in the same round.')
  for (const [name, text] of Object.entries({ ...report.peers, ...report.measures })) lines.push(`  ${name}: ${text}`)
  return `${lines.join('\n')}\n`
}

function printOutcome({ contest, rows }: Outcome): string[] {
  const [, ...others] = contest.peers
  const heading = ['', '', ...contest.peers.map(({ name }) => name), ...others.map(({ name }) => `to ${name}`)]
  const cells = rows.map((row) => [
    row.name,
    row.unit,
    ...contest.peers.map(({ name }) => formatSummary(row.values[name] && summarise(row.values[name]))),
    ...others.map((other) => formatSummary(ratioOf(row, contest.peers, other))),
  ])
  const widths = heading.map((word, column) => Math.max(word.length, ...cells.map((line) => line[column]!.length)))
  const line = (words: string[]) =>
    `  ${words.map((word, column) => word.padEnd(widths[column]!)).join('  ')}`.trimEnd()
  return [contest.title, line(heading), ...cells.map(line)]
}

function formatSummary(summary: Summary | undefined): string {
  if (summary === undefined) return '–'
  const { median, min, max } = summary
  return min === max ? formatValue(median) : `${formatValue(median)} (${formatValue(min)}–${formatValue(max)})`
}

/** The same with every single value. */
export function toJson(report: Report): string {
  const contests = report.outcomes.map(({ contest, rows }) => ({
    title: contest.title,
    wire: contest.wire,
    place: contest.place,
    peers: contest.peers.map(({ name }) => name),
    rows: rows.map((row) => jsonRow(row, contest)),
  }))
  const { outcomes: _, ...facts } = report
  return `${JSON.stringify({ ...facts, contests }, null, 2)}\n`
}

function jsonRow(row: Row, { peers }: Contest): object {
  const [, ...others] = peers
  const summaries = Object.entries(row.values).map(([name, values]) => [name, { ...summarise(values), values }])
  const ratios = others.map((other) => [other.name, ratioOf(row, peers, other)])
  return {
    name: row.name,
    unit: row.unit,
    better: row.better,
    peers: Object.fromEntries(summaries),
    ratioTo: Object.fromEntries(ratios),
  }
}
