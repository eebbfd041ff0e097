/**
 * The bench: polder beside what a user would take instead, in namespaces of its own, in one run. Progress goes to
 * stderr, the table to stdout. contests.ts says what is compared with what; rounds.ts how it is run.
 */
import { writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { drawChart } from './chart.ts'
import { chooseContests, MEASURES, PEERS } from './contests.ts'
import { lookAtMachine } from './machine.ts'
import { FAMILIES, type Family } from './peers/peer.ts'
import { type Report, toJson } from './report.ts'
import { formatTime, runRounds } from './rounds.ts'
import { printTable } from './table.ts'
import { removeStale, WIRE_NAMES, type Wire } from './topology.ts'

interface Options {
  rounds: number
  seconds: number
  wire: Wire[]
  family: Family[]
  only: string[]
  services: number[]
  userSpace: boolean
  json?: string
  chart?: string
  quick?: true
}

const EXIT_INTERRUPTED = 130
const QUICK_S = 0.3
const SERVICES = [1, 1000, 10_000]
const QUICK_SERVICES = [1, 100]

const EXAMPLES = `
Everything, as by default, takes about an hour on two cores; a round a fifth of it. With --json nothing is lost that
was measured in a whole round.

Examples:
  sudo ./scripts/bench                                        everything
  sudo ./scripts/bench --wire nic --only tcp                  TCP throughput on a wire like a plain network card
  sudo ./scripts/bench --json bench.json --chart bench.svg    for programs, and for people
  sudo ./scripts/bench --seconds 1 --family ipv4 --no-user-space     a first impression, in a quarter of the time`

function readOptions(): Options {
  const wire = new Option('--wire <wire...>', 'offloads of the wire between the nodes').choices(WIRE_NAMES)
  const family = new Option('--family <family...>', 'of the traffic between pods').choices(FAMILIES)
  const only = new Option('--only <measure...>', 'only these measures').choices(MEASURES.map(({ name }) => name))
  const command = new Command('scripts/bench')
    .description('Measures polder beside the kernel and user-space tunnels. Needs root.')
    .option('--rounds <n>', 'how often everything is measured, in turn', wholeNumber, 5)
    .option('--seconds <n>', 'how long each measurement lasts', wholeNumber, 2)
    .addOption(wire.default(WIRE_NAMES, 'all'))
    .addOption(family.default(FAMILIES, 'both'))
    .addOption(only.default([], 'all'))
    .option('--services <n...>', 'numbers of Services to choose among', wholeNumbers, SERVICES)
    .option('--no-user-space', 'leave out tinc, nebula, wireguard-go and n2n')
    .option('--json <file>', 'also write every value to this file, after each round')
    .option('--chart <file>', 'also draw what is judged into this file, as SVG')
    .option('--quick', 'one round of a third of a second: whether it works, not how fast')
    .addHelpText('after', EXAMPLES)
  const options = command.parse().opts<Options>()
  return options.quick ? { ...options, rounds: 1, seconds: QUICK_S, services: QUICK_SERVICES } : options
}

/** Those that are given take the place of the usual ones. */
function wholeNumbers(text: string, before: number[]): number[] {
  return before === SERVICES ? [wholeNumber(text)] : [...before, wholeNumber(text)]
}

function wholeNumber(text: string): number {
  if (/^[1-9][0-9]{0,4}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number above 0.')
}

/** Names and descriptions of what takes part, each once. */
async function describe(
  parts: Iterable<{ name: string; describe(): Promise<string> }>,
): Promise<Record<string, string>> {
  const described: Record<string, string> = {}
  for (const part of new Set(parts)) described[part.name] = await part.describe()
  return described
}

async function bench(options: Options): Promise<Report> {
  await removeStale()
  const { rounds, seconds, wire: wires, family: families, only, services } = options
  const absent: Record<string, string> = {}
  const wanted = PEERS.filter(({ kind }) => options.userSpace || kind !== 'user-space')
  for (const { name, absence } of wanted) {
    const why = await absence?.()
    if (why !== undefined) absent[name] = why
  }
  const contests = chooseContests({
    wires,
    only,
    services,
    families,
    peers: wanted.filter(({ name }) => absent[name] === undefined),
  })
  const report: Report = {
    machine: await lookAtMachine(),
    begun: new Date(),
    ended: new Date(),
    rounds,
    seconds,
    peers: await describe(contests.flatMap(({ peers }) => peers)),
    measures: await describe(contests.flatMap(({ measures }) => measures)),
    absent,
    outcomes: [],
  }
  for (const [name, why] of Object.entries(absent)) progress(`absent: ${name}: ${why}`)
  const roundDone = (round: number, outcomes: Report['outcomes']): void => {
    Object.assign(report, { rounds: round, outcomes, ended: new Date() })
    progress(`round ${round} of ${rounds} done after ${formatTime(report.ended.getTime() - report.begun.getTime())}`)
    if (options.json !== undefined) writeFileSync(options.json, toJson(report))
    if (options.chart !== undefined) writeFileSync(options.chart, drawChart(report))
  }
  await runRounds(contests, { rounds, seconds, families, services, progress, roundDone })
  return report
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function main(): Promise<void> {
  const options = readOptions()
  // Whatever was set up is taken down when the process exits: see processes.ts and topology.ts.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(EXIT_INTERRUPTED))
  process.stdout.write(`\n${printTable(await bench(options))}`)
}

main().catch((error: unknown) => {
  process.stderr.write(`scripts/bench: ${error instanceof Error ? error.message : String(error)}\n`)
  if (error instanceof Error && error.cause instanceof Error) process.stderr.write(`  ${error.cause.message}\n`)
  process.exit(1)
})
