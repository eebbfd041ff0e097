/**
 * A small coverage-guided fuzzer. Inputs are made from those that were interesting before, run in batches, and kept
 * where they reach code that never ran, or an outcome never seen. A batch that reached new code is searched by halves
 * for the inputs that did. An input that throws, or takes too long, is a finding: made as small as it can be, and
 * reported.
 */
import type { Coverage } from './coverage.ts'
import { mutate } from './mutate.ts'
import { Random } from './random.ts'
import type { Target } from './target.ts'

/** An input that takes longer hangs somebody. Generous: a busy machine and a collection of garbage are no findings. */
export const INPUT_MS_MAX = 1000
const BATCH_INPUTS_MAX = 2000
const BATCH_MS = 40
const SHRINK_RUNS_MAX = 5000
/** One more of the same says nothing new. */
const FINDINGS_MAX = 5

export interface Finding {
  input: Uint8Array
  error: string
}

export interface Outcome {
  runs: number
  findings: Finding[]
  /** What was worth keeping, the seeds among it. */
  corpus: Uint8Array[]
  seconds: number
}

export interface Limits {
  seconds: number
  seed: number
  /** Ends at the first finding. */
  firstOnly?: boolean
}

/** What the input did: an outcome, or the error that speaks against it. */
async function attempt(target: Target, input: Uint8Array): Promise<{ said?: string; error?: string }> {
  const startedMs = performance.now()
  try {
    const answer = target.run(input.slice())
    const said = typeof answer === 'string' ? answer : await answer
    const ms = performance.now() - startedMs
    return ms > INPUT_MS_MAX ? { error: `took ${Math.round(ms)} ms` } : { said }
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

export class Fuzzer {
  readonly #target: Target
  readonly #coverage: Coverage | undefined
  readonly #said = new Set<string>()
  readonly #findings: Finding[] = []
  readonly #kinds = new Set<string>()
  #corpus: Uint8Array[] = []
  #runs = 0

  constructor(target: Target, coverage?: Coverage) {
    this.#target = target
    this.#coverage = coverage
  }

  async run(corpus: readonly Uint8Array[], { seconds, seed, firstOnly = false }: Limits): Promise<Outcome> {
    const startedMs = performance.now()
    const random = new Random(seed)
    await this.#take([...this.#target.seeds, ...corpus])
    let batchInputs = 50
    while (performance.now() - startedMs < seconds * 1000 && this.#findings.length < (firstOnly ? 1 : FINDINGS_MAX)) {
      const batchMs = performance.now()
      await this.#take(Array.from({ length: batchInputs }, () => this.#invent(random)))
      batchInputs = Math.min(
        BATCH_INPUTS_MAX,
        Math.ceil((batchInputs * BATCH_MS * 2) / (BATCH_MS + performance.now() - batchMs)),
      )
    }
    const spent = (performance.now() - startedMs) / 1000
    return { runs: this.#runs, findings: this.#findings, corpus: this.#corpus, seconds: spent }
  }

  /** Of `corpus` only what is needed for all that it reaches, the short ones first. */
  async distil(corpus: readonly Uint8Array[]): Promise<Uint8Array[]> {
    await this.#target.reset?.()
    this.#coverage?.reset()
    this.#said.clear()
    this.#corpus = []
    for (const input of corpus.toSorted((a, b) => a.length - b.length)) await this.#take([input])
    return this.#corpus
  }

  /** Newer ones, which are nearest to what nobody has reached, more often. */
  #invent(random: Random): Uint8Array {
    const corpus = this.#corpus
    if (corpus.length === 0) return mutate(new Uint8Array(8), new Uint8Array(8), this.#target.words ?? [], random)
    const recent = Math.min(corpus.length, 20)
    const parent = random.below(3) === 0 ? corpus[corpus.length - 1 - random.below(recent)]! : random.pick(corpus)
    const knowing = this.#target.mutate !== undefined && random.below(2) === 0
    let input = knowing ? this.#target.mutate!(parent.slice(), random) : parent
    if (!knowing || random.below(4) === 0) {
      input = mutate(input, random.pick(corpus), this.#target.words ?? [], random)
    }
    return input.subarray(0, this.#target.bytesMax)
  }

  async #take(inputs: readonly Uint8Array[]): Promise<void> {
    for (const input of inputs) {
      this.#runs++
      const { said, error } = await attempt(this.#target, input)
      if (error !== undefined) await this.#find(input, error)
      else if (!this.#said.has(said!)) {
        this.#said.add(said!)
        this.#corpus.push(input.slice())
      }
    }
    if (this.#coverage !== undefined && this.#coverage.look(false) > 0) await this.#locate(inputs, 0, inputs.length)
  }

  /** Some of these inputs ran new code: the halves are run again until it is known which. */
  async #locate(inputs: readonly Uint8Array[], from: number, to: number): Promise<void> {
    if (to - from === 1) {
      await attempt(this.#target, inputs[from]!)
      if (this.#coverage!.look(true) > 0) this.#corpus.push(inputs[from]!.slice())
      return
    }
    const middle = (from + to) >>> 1
    for (const [start, end] of [
      [from, middle],
      [middle, to],
    ] as const) {
      for (let i = start; i < end; i++) await attempt(this.#target, inputs[i]!)
      if (this.#coverage!.look(false) > 0) await this.#locate(inputs, start, end)
    }
  }

  async #find(input: Uint8Array, error: string): Promise<void> {
    const kind = kindOf(error)
    if (this.#kinds.has(kind)) return
    this.#kinds.add(kind)
    const small = await this.#shrink(input, kind)
    this.#findings.push({ input: small, error: (await attempt(this.#target, small)).error ?? error })
  }

  /** Pieces out, then bytes to zero, as long as the same goes wrong. */
  async #shrink(input: Uint8Array, kind: string): Promise<Uint8Array> {
    let small = input
    let runs = 0
    const fails = async (candidate: Uint8Array): Promise<boolean> => {
      if (++runs > SHRINK_RUNS_MAX) return false
      const { error } = await attempt(this.#target, candidate)
      return error !== undefined && kindOf(error) === kind
    }
    for (let size = small.length >> 1; size >= 1; size >>= 1) {
      for (let at = 0; at + size <= small.length; ) {
        const without = Uint8Array.of(...small.subarray(0, at), ...small.subarray(at + size))
        if (await fails(without)) small = without
        else at += size
      }
    }
    for (let at = 0; at < small.length; at++) {
      if (small[at] === 0) continue
      const zeroed = small.slice()
      zeroed[at] = 0
      if (await fails(zeroed)) small = zeroed
    }
    return small
  }
}

/** Where it went wrong rather than with which bytes. */
function kindOf(error: string): string {
  const lines = error.split('\n')
  const place = lines.find((line) => /^\s+at /.test(line)) ?? lines[0]!.replaceAll(/\d+/g, '#')
  return `${/^\w+/.exec(error)?.[0]} ${place.trim()}`
}
