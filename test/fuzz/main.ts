/**
 * Fuzzes by hand:  node test/fuzz/main.ts TARGET [SECONDS] [SEED]
 *
 * Prints what was found, as hex, and what was reached. `--first` ends at the first finding. With `--keep` the corpus of test/vectors is replaced by the
 * smallest one that reaches all that old and new inputs together reach. Exit code 1 where something was found.
 */
import { toHex } from '../support/hex.ts'
import { readCorpus, writeCorpus } from './corpus.ts'
import { Coverage } from './coverage.ts'
import { Fuzzer } from './fuzzer.ts'
import { loadTarget, TARGETS } from './targets/index.ts'

const [name = '', secondsText = '60', seedText] = process.argv.slice(2).filter((word) => !word.startsWith('--'))
if (!TARGETS.includes(name)) {
  console.error(`${name || 'nothing'} is no target: ${TARGETS.join(', ')}`)
  process.exit(2)
}
const seed = Number(seedText ?? (Math.random() * 2 ** 31) | 0)
// Before the target and all that it imports is compiled.
const coverage = new Coverage()
const target = await loadTarget(name)
const guide = target.watches === undefined ? undefined : coverage.watching(target.watches)
const fuzzer = new Fuzzer(target, guide)
const outcome = await fuzzer.run(readCorpus(name), {
  seconds: Number(secondsText),
  seed,
  firstOnly: process.argv.includes('--first'),
})
const perSecond = Math.round(outcome.runs / outcome.seconds)
const reached = guide === undefined ? '' : `, ${guide.covered} characters of code`
console.log(
  `${name}: ${outcome.runs} inputs, ${perSecond} a second, ${outcome.corpus.length} kept${reached}, seed ${seed}`,
)
for (const { input, error } of outcome.findings) console.log(`\nfound ${toHex(input)}\n${error}`)
if (process.argv.includes('--keep')) {
  const kept = await fuzzer.distil(outcome.corpus)
  writeCorpus(name, kept)
  console.log(`${kept.length} inputs reach all of it`)
}
await target.close?.()
process.exit(outcome.findings.length > 0 ? 1 : 0)
