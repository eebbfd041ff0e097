/** All that a bench found out, and the JSON file of it with every single value. */
import type { Contest } from './contests.ts'
import type { Machine } from './machine.ts'
import { type Outcome, type Row, ratioOf } from './rounds.ts'
import { summarise } from './statistics.ts'
import { judge } from './targets.ts'

/** What a reader must know beside the figures. */
export interface Report {
  machine: Machine
  /** Of its beginning and of the end of the last round. */
  begun: Date
  ended: Date
  rounds: number
  seconds: number
  /** Name and description of every peer and measure that took part. */
  peers: Record<string, string>
  measures: Record<string, string>
  /** Peers that could not take part, and why. */
  absent: Record<string, string>
  outcomes: Outcome[]
}

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

function jsonRow(row: Row, contest: Contest): object {
  const { peers } = contest
  const summaries = Object.entries(row.values).map(([name, values]) => [name, { ...summarise(values), values }])
  const ratios = peers.slice(1).map((other) => [other.name, ratioOf(row, peers, other)])
  return {
    name: row.name,
    unit: row.unit,
    better: row.better,
    peers: Object.fromEntries(summaries),
    ratioTo: Object.fromEntries(ratios),
    targets: judge(row, contest),
  }
}
