/**
 * What polderds and their keepers take, sampled over a long test: memory, descriptors, threads, flows, pods, and stalls.
 * Drawn as a chart, and judged: the last third of the time must be as the second one was.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Counters } from '../../daemon/api/types.ts'
import { keeperPath } from '../../daemon/handover/keeper.ts'
import type { TestNode } from './cluster.ts'
import { drawLines, type Mark, type Panel } from './line-chart.ts'
import { keeperPid, openFiles, residentBytes } from './processes.ts'

/** Each quantity, and by how much its median may grow from the second third to the last: a share, and so much beside. */
const QUANTITIES = {
  'resident memory of polderd, MB': { share: 0.2, beside: 15 },
  'resident memory of the keeper, MB': { share: 0.2, beside: 1 },
  'descriptors of polderd': { share: 0.05, beside: 4 },
  'descriptors of the keeper': { share: 0.05, beside: 4 },
  'threads of polderd': { share: 0.05, beside: 3 },
  flows: { share: 0.5, beside: 300 },
  'attachment records': { share: 0, beside: 2 },
} as const
type Quantity = keyof typeof QUANTITIES

export class SoakSamples {
  readonly #startedMs = performance.now()
  readonly #points = new Map<string, [number, number][]>()
  readonly #stalls: [number, number][] = []
  readonly #marks: Mark[] = []
  readonly #nodes: readonly TestNode[]

  constructor(nodes: readonly TestNode[]) {
    this.#nodes = nodes
  }

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000
  }

  mark(text: string): void {
    this.#marks.push({ seconds: this.seconds, text })
  }

  stall(milliseconds: number): void {
    this.#stalls.push([this.seconds, milliseconds])
  }

  /** At a quiet moment: everything runs, nothing is under way. */
  async take(): Promise<void> {
    for (const node of this.#nodes) {
      const { flows } = await node.get<Counters>('/v1/counters')
      const keeper = keeperPid(keeperPath(node.socket))
      // Released ones go when their addresses have rested.
      const records = readdirSync(join(node.stateDir, 'attachments')).filter((name) => name.endsWith('.json'))
      this.#add('resident memory of polderd, MB', node, residentBytes(node.pid) / 1e6)
      this.#add('descriptors of polderd', node, openFiles(node.pid))
      this.#add('threads of polderd', node, readdirSync(`/proc/${node.pid}/task`).length)
      this.#add('flows', node, flows.flows)
      this.#add('attachment records', node, records.length)
      if (keeper === undefined) continue
      this.#add('resident memory of the keeper, MB', node, residentBytes(keeper) / 1e6)
      this.#add('descriptors of the keeper', node, openFiles(keeper))
    }
  }

  /** What has grown, in words; none where all is flat. */
  grown(): string[] {
    const seconds = this.seconds
    return [...this.#points].flatMap(([key, points]) => {
      const quantity = key.split(' @ ')[0] as Quantity
      const { share, beside } = QUANTITIES[quantity]
      const third = (n: number): number =>
        median(
          points.filter(([at]) => at >= (seconds / 3) * n && at < (seconds / 3) * (n + 1)).map(([, value]) => value),
        )
      const [before, after] = [third(1), third(2)]
      const isFlat = after <= before * (1 + share) + beside
      return isFlat ? [] : [`${key}: ${before.toFixed(1)} in the second third, ${after.toFixed(1)} in the last`]
    })
  }

  chart(title: string): string {
    const panels = Object.keys(QUANTITIES).map((quantity): Panel => {
      const series = this.#nodes.map(({ name }) => ({ name, points: this.#points.get(`${quantity} @ ${name}`) ?? [] }))
      return { title: quantity, series }
    })
    const stalls = {
      title: 'longest stall of a connection, ms',
      series: [{ name: 'from request to answer', points: this.#stalls }],
    }
    return drawLines(title, [...panels, stalls], this.#marks)
  }

  #add(quantity: Quantity, { name }: TestNode, value: number): void {
    const key = `${quantity} @ ${name}`
    const points = this.#points.get(key) ?? []
    points.push([this.seconds, value])
    this.#points.set(key, points)
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
