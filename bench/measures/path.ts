/** What JavaScript takes for a packet, in a process of its own (bench/path-cost.ts). */
import { fileURLToPath } from 'node:url'
import { run } from '../processes.ts'
import { percentile } from '../statistics.ts'
import type { Measure } from './measure.ts'

const PROGRAM = fileURLToPath(new URL('../path-cost.ts', import.meta.url))
/** There are six of them, and they hardly vary. */
const SHARE = 0.5

export const PATH: Measure = {
  name: 'path',
  perFamily: false,

  async describe() {
    return `bench/path-cost.ts: virtual UDP packets of 64 flows through the data plane's batch, Node ${process.versions.node}; median of passes of 12,800 packets`
  },

  async run({ seconds }) {
    const passes: Record<string, number[]> = JSON.parse(await run([process.execPath, PROGRAM, String(seconds * SHARE)]))
    return Object.entries(passes).map(([name, ns]) => ({
      row: `JavaScript a packet, ${name}`,
      unit: 'ns',
      value: percentile(ns, 0.5),
      better: 'less',
    }))
  },
}
