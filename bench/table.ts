/** The outcome of a bench as a table for people. */
import type { Peer } from './peers/peer.ts'
import type { Report } from './report.ts'
import { formatTime, formatValue, type Outcome, type Row, ratioOf } from './rounds.ts'
import { type Summary, summarise } from './statistics.ts'
import { judge, type Verdict } from './targets.ts'

const BUSY_LIMIT = 0.1

export function printTable(report: Report): string {
  const { machine, rounds, seconds, outcomes, begun, ended } = report
  const took = formatTime(ended.getTime() - begun.getTime())
  const amount = `${rounds} ${rounds === 1 ? 'round' : 'rounds'}, ${seconds} s a measurement, ${took} in all`
  const lines = [
    `polder bench, ${begun.toISOString().slice(0, 10)}: ${amount}`,
    `Linux ${machine.kernel}, ${machine.cores} × ${machine.cpu}`,
  ]
  if (machine.busy > BUSY_LIMIT) {
    const share = Math.round(machine.busy * 100)
    lines.push(`Beware: other programs used ${share} % of the CPUs when it began; the figures are off.`)
  }
  for (const outcome of outcomes) lines.push('', ...printOutcome(outcome))
  lines.push(
    '',
    'Median of the rounds (lowest–highest). A column × has the ratio of polder to the peer before it, in the same round.',
    'Targets are a ratio to the kernel, to the fastest user-space peer, or a value of polder’s own: bench/targets.ts.',
  )
  for (const [name, text] of Object.entries({ ...report.peers, ...report.measures })) lines.push(`  ${name}: ${text}`)
  for (const [name, why] of Object.entries(report.absent)) lines.push(`  absent: ${name}: ${why}`)
  return `${lines.join('\n')}\n`
}

/** Beside the kernel's ways; then, where there are any, beside user-space peers. */
function printOutcome({ contest, rows }: Outcome): string[] {
  const [polder, ...others] = contest.peers
  const kernel = others.filter(({ kind }) => kind !== 'user-space')
  const userSpace = others.filter(({ kind }) => kind === 'user-space')
  const shared = rows.filter(({ values }) => userSpace.some(({ name }) => values[name] !== undefined))
  const lines = [contest.title]
  if (kernel.length > 0 || userSpace.length === 0) {
    const verdicts = (row: Row) => judge(row, contest).filter(({ against }) => against !== 'user-space')
    lines.push(...printRows(rows, [polder!, ...kernel], verdicts))
  }
  if (shared.length > 0) {
    const verdicts = (row: Row) => judge(row, contest).filter(({ against }) => against === 'user-space')
    lines.push('', ...printRows(shared, [polder!, ...userSpace], verdicts))
  }
  return lines
}

function printRows(rows: readonly Row[], peers: readonly Peer[], verdicts: (row: Row) => Verdict[]): string[] {
  const [polder, ...others] = peers
  const judged = rows.map((row) => verdicts(row).map(formatVerdict).join('; '))
  const heading = [
    '',
    '',
    polder!.name,
    ...others.flatMap(({ name }) => [name, '×']),
    judged.some(Boolean) ? 'target' : '',
  ]
  const cells = rows.map((row, i) => [
    row.name,
    row.unit,
    formatValues(row.values[polder!.name]),
    ...others.flatMap((other) => [formatValues(row.values[other.name]), formatSummary(ratioOf(row, peers, other))]),
    judged[i]!,
  ])
  const widths = heading.map((word, column) => Math.max(word.length, ...cells.map((line) => line[column]!.length)))
  return [heading, ...cells].map((words) =>
    `  ${words.map((word, column) => word.padEnd(widths[column]!)).join('  ')}`.trimEnd(),
  )
}

function formatValues(values: readonly number[] | undefined): string {
  return formatSummary(values && summarise(values))
}

function formatSummary(summary: Summary | undefined): string {
  if (summary === undefined) return '–'
  const { median, min, max } = summary
  return min === max ? formatValue(median) : `${formatValue(median)} (${formatValue(min)}–${formatValue(max)})`
}

function formatVerdict({ reached, must, aim }: Verdict): string {
  if (reached === 'aim') return `aim reached (${aim})`
  if (reached === 'must') return `must reached (${must}), aim ${aim}`
  return `SHORT of must ${must}, aim ${aim}`
}
