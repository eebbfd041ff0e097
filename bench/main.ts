/**
 * The bench: polder beside what a user would take instead, in namespaces of its own, in one run. Progress goes to
 * stderr, the table to stdout. contests.ts says what is compared with what; rounds.ts how it is run.
 */
import { writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type Contest, chooseContests, MEASURES } from './contests.ts'
import { lookAtMachine } from './machine.ts'
import { runRounds } from './rounds.ts'
import { printTable, type Report, toJson } from './table.ts'
import { removeStale, WIRE_NAMES, type Wire } from './topology.ts'

interface Options {
  rounds: number
  seconds: number
  wire: Wire[]
  only: string[]
  json?: string
  quick?: true
}

const EXIT_INTERRUPTED = 130

const EXAMPLES = `
Examples:
  sudo ./scripts/bench                             everything, on the wires mtu and full
  sudo ./scripts/bench --wire nic --only tcp       TCP throughput on a wire like a plain network card
  sudo ./scripts/bench --rounds 5 --seconds 10 --json bench.json`

function readOptions(): Options {
  const wire = new Option('--wire <wire...>', 'offloads of the wire between the nodes').choices(WIRE_NAMES)
  const only = new Option('--only <measure...>', 'only these measures').choices(MEASURES.map(({ name }) => name))
  const command = new Command('scripts/bench')
    .description('Measures polder beside the kernel: TCP, request/response, UDP, attaching pods. Needs root.')
    .option('--rounds <n>', 'how often everything is measured, in turn', wholeNumber, 3)
    .option('--seconds <n>', 'how long each measurement lasts', wholeNumber, 3)
    .addOption(wire.default(['mtu', 'full']))
    .addOption(only.default([], 'all'))
    .option('--json <file>', 'also write every value to this file')
    .option('--quick', 'one round of one second: whether it works, not how fast')
    .addHelpText('after', EXAMPLES)
  const options = command.parse().opts<Options>()
  return options.quick ? { ...options, rounds: 1, seconds: 1 } : options
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
  const contests: Contest[] = chooseContests({ wires: options.wire, only: options.only })
  const { rounds, seconds } = options
  const report = {
    machine: await lookAtMachine(),
    date: new Date().toISOString().slice(0, 10),
    rounds,
    seconds,
    peers: await describe(contests.flatMap(({ peers }) => peers)),
    measures: await describe(contests.flatMap(({ measures }) => measures)),
  }
  const progress = (line: string) => process.stderr.write(`${line}\n`)
  return { ...report, outcomes: await runRounds(contests, { rounds, seconds, progress }) }
}

async function main(): Promise<void> {
  const options = readOptions()
  // Whatever was set up is taken down when the process exits: see processes.ts and topology.ts.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(EXIT_INTERRUPTED))
  const report = await bench(options)
  process.stdout.write(`\n${printTable(report)}`)
  if (options.json !== undefined) writeFileSync(options.json, toJson(report))
}

main().catch((error: unknown) => {
  process.stderr.write(`scripts/bench: ${error instanceof Error ? error.message : String(error)}\n`)
  if (error instanceof Error && error.cause instanceof Error) process.stderr.write(`  ${error.cause.message}\n`)
  process.exit(1)
})
