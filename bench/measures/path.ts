/**
 * What JavaScript takes for a packet (bench/path-cost.ts), and for a million flows (bench/flow-cost.ts), each in a
 * process of its own.
 */
import { fileURLToPath } from 'node:url'
import { run } from '../processes.ts'
import { percentile } from '../statistics.ts'
import type { Measure, Reading } from './measure.ts'

const PATH_COST = fileURLToPath(new URL('../path-cost.ts', import.meta.url))
const FLOW_COST = fileURLToPath(new URL('../flow-cost.ts', import.meta.url))
/** There are nine of them, and they hardly vary. */
const SHARE = 0.5
/** As scripts/polderd starts polderd. */
const FLAGS = [
  '--max-inlined-bytecode-size=1200',
  '--max-inlined-bytecode-size-cumulative=12000',
  '--max-inlined-bytecode-size-absolute=40000',
  '--max-semi-space-size=1',
]

export const PATH: Measure = {
  name: 'path',
  perFamily: false,

  async describe() {
    return `bench/path-cost.ts: virtual packets of 64 flows, UDP and, where it says so, TCP, through the data plane's batch, CPU time, Node ${process.versions.node}, median of passes of 640,000 packets; bench/flow-cost.ts: lookups in random order, all flows expire at once`
  },

  async run({ seconds }) {
    return [...(await ofPackets(seconds)), ...(await ofFlows())]
  },
}

async function ofPackets(seconds: number): Promise<Reading[]> {
  const passes: Record<string, number[]> = JSON.parse(
    await run([process.execPath, ...FLAGS, PATH_COST, String(seconds * SHARE)]),
  )
  return Object.entries(passes).map(([name, ns]) => ({
    row: `JavaScript a packet, ${name}`,
    unit: 'ns',
    value: percentile(ns, 0.5),
    better: 'less',
  }))
}

async function ofFlows(): Promise<Reading[]> {
  const { openNs, lookupNs, memoryMB, worstTickMs } = JSON.parse(await run([process.execPath, FLOW_COST]))
  return [
    { row: '1,000,000 flows: lookup', unit: 'ns', value: lookupNs, better: 'less' },
    { row: '1,000,000 flows: opening one', unit: 'ns', value: openNs, better: 'less' },
    { row: '1,000,000 flows: memory', unit: 'MB', value: memoryMB, better: 'less' },
    { row: '1,000,000 flows: longest pause for expiry', unit: 'ms', value: worstTickMs, better: 'less' },
  ]
}
