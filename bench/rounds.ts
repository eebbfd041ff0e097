/**
 * Runs contests in interleaved rounds: in each round every contest, in each contest every peer in turn (A B A B …), so
 * that what changes on the machine in the course of time meets all of them. A turn is one peer brought up in a topology
 * of its own, measured, and taken down.
 */
import { type Contest, measuresFor } from './contests.ts'
import type { Measure, Reading } from './measures/measure.ts'
import type { Family, Network, Peer } from './peers/peer.ts'
import { type Summary, summarise } from './statistics.ts'
import { Topology } from './topology.ts'

export interface RoundsOptions {
  rounds: number
  seconds: number
  families: readonly Family[]
  /** Numbers of Services that are compared. */
  services: readonly number[]
  progress(line: string): void
  /** After each round, with what there is by then. */
  roundDone(round: number, outcomes: Outcome[]): void
}

export interface Row {
  name: string
  /** What is measured, without the family it is measured in. */
  figure: string
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
  const begin = performance.now()
  let turn = 0
  for (let round = 1; round <= options.rounds; round++) {
    for (const outcome of outcomes) {
      for (const peer of outcome.contest.peers) {
        const left = turn === 0 ? '' : `, ${formatTime(((performance.now() - begin) / turn) * (turns - turn))} left`
        options.progress(`[${++turn}/${turns}${left}] round ${round}: ${shortTitle(outcome.contest)}: ${peer.name}`)
        await takeTurn(outcome, peer, options)
      }
    }
    options.roundDone(round, outcomes)
  }
  return outcomes
}

/** What fails once may have been the machine's hiccup, and an hour's work would be lost: a turn is taken again, once. */
async function takeTurn(outcome: Outcome, peer: Peer, options: RoundsOptions): Promise<void> {
  const { contest, rows } = outcome
  const readings = await readTurn(contest, peer, options).catch((error: Error) => {
    options.progress(`      failed, and is tried again: ${error.message}`)
    return readTurn(contest, peer, options)
  })
  for (const { family, reading } of readings) note(rows, peer, family, reading)
}

interface FamilyReading {
  family: Family
  reading: Reading
}

async function readTurn(contest: Contest, peer: Peer, options: RoundsOptions): Promise<FamilyReading[]> {
  const topology = await Topology.create(contest.wire)
  const readings: FamilyReading[] = []
  try {
    const network = await peer.up(topology, contest.services)
    for (const measure of measuresFor(contest, peer)) {
      for (const family of measure.perFamily ? options.families : (['ipv4'] as const)) {
        for (const reading of await read(measure, { ...options, topology, network, contest, family })) {
          readings.push({ family, reading })
          options.progress(`      ${nameOf(family, reading)}: ${formatValue(reading.value)} ${reading.unit}`)
        }
      }
    }
    await network.down()
    return readings
  } finally {
    await topology.remove()
  }
}

interface Occasion {
  topology: Topology
  network: Network
  contest: Contest
  family: Family
  seconds: number
  services: readonly number[]
}

/** A peer without the family has nothing to say. */
async function read(
  measure: Measure,
  { topology, network, contest, family, ...options }: Occasion,
): Promise<Reading[]> {
  const to = network[contest.place]
  if (to === undefined) throw new Error(`there is no pod for ${contest.place}`)
  const throughService = family === 'ipv4' ? network.clusterIP : undefined
  const address = contest.services === undefined ? to.addresses[family] : throughService
  if (address === undefined) return []
  const services = Math.max(...options.services)
  return measure.run({ topology, network, from: network.pod, to, address, seconds: options.seconds, services })
}

function note(rows: Row[], peer: Peer, family: Family, reading: Reading): void {
  const { row: figure, unit, better, value } = reading
  const name = nameOf(family, reading)
  const known = rows.find((row) => row.name === name)
  const noted = known ?? { name, figure, unit, better, values: {} }
  if (known === undefined) rows.push(noted)
  noted.values[peer.name] = [...(noted.values[peer.name] ?? []), value]
}

function nameOf(family: Family, { row }: Reading): string {
  return family === 'ipv6' ? `${row}, IPv6` : row
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

export function formatTime(ms: number): string {
  return ms < 90_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`
}
