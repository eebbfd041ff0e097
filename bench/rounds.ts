/**
 * Runs contests in interleaved rounds: in each round every contest, in each contest every peer in turn (A B A B …), so
 * that what changes on the machine in the course of time meets all of them. A turn is one peer brought up in a topology
 * of its own, measured, and taken down.
 */
import type { Contest } from './contests.ts'
import type { Reading } from './measures/measure.ts'
import type { Peer } from './peers/peer.ts'
import { type Summary, summarise } from './statistics.ts'
import { Topology } from './topology.ts'

export interface RoundsOptions {
  rounds: number
  seconds: number
  progress(line: string): void
}

export interface Row {
  name: string
  unit: string
  better: Reading['better']
  /** By peer, then by round. A peer without such a thing has none. */
  values: Record<string, number[]>
}

export interface Outcome {
  contest: Contest
  rows: Row[]
}

export async function runRounds(contests: readonly Contest[], options: RoundsOptions): Promise<Outcome[]> {
  const outcomes = contests.map((contest): Outcome => ({ contest, rows: [] }))
  const turns = options.rounds * contests.reduce((sum, { peers }) => sum + peers.length, 0)
  let turn = 0
  for (let round = 1; round <= options.rounds; round++) {
    for (const { contest, rows } of outcomes) {
      for (const peer of contest.peers) {
        options.progress(`[${++turn}/${turns}] round ${round}: ${shortTitle(contest)}: ${peer.name}`)
        for (const reading of await takeTurn(contest, peer, options)) note(rows, peer, reading)
      }
    }
  }
  return outcomes
}

async function takeTurn(contest: Contest, peer: Peer, { seconds, progress }: RoundsOptions): Promise<Reading[]> {
  const topology = await Topology.create(contest.wire)
  const network = await peer.up(topology)
  const to = network[contest.place]
  if (to === undefined) throw new Error(`${peer.name} has no pod for ${contest.place}`)
  const readings: Reading[] = []
  for (const measure of contest.measures) {
    for (const reading of await measure.run({ topology, network, from: network.pod, to, seconds })) {
      progress(`      ${reading.row}: ${formatValue(reading.value)} ${reading.unit}`)
      readings.push(reading)
    }
  }
  await network.down()
  await topology.remove()
  return readings
}

function note(rows: Row[], peer: Peer, { row, unit, better, value }: Reading): void {
  const known = rows.find(({ name }) => name === row)
  const noted = known ?? { name: row, unit, better, values: {} }
  if (known === undefined) rows.push(noted)
  noted.values[peer.name] = [...(noted.values[peer.name] ?? []), value]
}

/** The first peer to another in each round, summarised; undefined where either has no such row. */
export function ratioOf({ values }: Row, peers: readonly Peer[], to: Peer): Summary | undefined {
  const [own, other] = [values[peers[0]!.name], values[to.name]]
  if (own === undefined || other === undefined) return undefined
  return summarise(own.map((value, round) => value / other[round]!))
}

export function shortTitle({ title }: Contest): string {
  return title.split(':')[0]!
}

/** Three digits that count. */
export function formatValue(value: number): string {
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.max(value, 1e-9))))
  return value.toFixed(Math.min(decimals, 3))
}
