/**
 * Which code ran, by V8's own block coverage: every look tells which characters of the watched files ran since the last
 * one, and whether any of them had never run before. A look costs about a millisecond, so one is taken after a batch.
 *
 * Only functions that are compiled later are counted by block: make it before anything watched is imported.
 */
import { Session } from 'node:inspector'

interface Range {
  startOffset: number
  endOffset: number
  count: number
}

interface Script {
  url: string
  functions: { ranges: Range[] }[]
}

export class Coverage {
  readonly #session = new Session()
  #watches = /^/
  #known = new Map<string, Uint8Array>()

  constructor() {
    this.#session.connect()
    this.#post('Profiler.enable')
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Only files whose URL matches guide. */
  watching(watches: RegExp): this {
    this.#watches = watches
    return this
  }

  /** Forgets what ran before. */
  reset(): void {
    this.#post('Profiler.takePreciseCoverage')
    this.#known = new Map()
  }

  /** How many characters ran since the last look that had never run before; `keep` remembers them. */
  look(keep: boolean): number {
    let fresh = 0
    const { result } = this.#post('Profiler.takePreciseCoverage') as { result: Script[] }
    for (const script of result) if (this.#watches.test(script.url)) fresh += this.#compare(script, keep)
    return fresh
  }

  get covered(): number {
    return [...this.#known.values()].reduce((all, ran) => all + ran.reduce((sum, each) => sum + each, 0), 0)
  }

  #compare({ url, functions }: Script, keep: boolean): number {
    const end = Math.max(...functions.flatMap(({ ranges }) => ranges.map((range) => range.endOffset)))
    let known = this.#known.get(url)
    if (known === undefined || known.length < end) {
      const grown = new Uint8Array(end)
      grown.set(known ?? [])
      known = grown
      this.#known.set(url, known)
    }
    let fresh = 0
    for (const { ranges } of functions) fresh += compareFunction(ranges, known, keep)
    return fresh
  }

  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown
    this.#session.post(method, parameters, (error, result) => {
      if (error) throw error
      answer = result
    })
    return answer
  }
}

/** Ranges are nested, the outer first: what an inner one says of its characters is what counts. */
function compareFunction(ranges: readonly Range[], known: Uint8Array, keep: boolean): number {
  const [whole] = ranges
  if (whole === undefined || whole.count === 0) return 0
  const ran = new Uint8Array(whole.endOffset - whole.startOffset)
  for (const { startOffset, endOffset, count } of ranges) {
    ran.fill(count === 0 ? 0 : 1, startOffset - whole.startOffset, endOffset - whole.startOffset)
  }
  let fresh = 0
  for (let i = 0; i < ran.length; i++) {
    if (ran[i] === 0 || known[whole.startOffset + i] === 1) continue
    fresh++
    if (keep) known[whole.startOffset + i] = 1
  }
  return fresh
}
