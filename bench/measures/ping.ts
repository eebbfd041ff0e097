/**
 * Latency by ping, at a rate that lets CPUs fall asleep between two of them: with one every 2 ms none does, and the figure
 * flatters. Judged is request/response (rr.ts).
 */
import { inside, run } from '../processes.ts'
import { percentile } from '../statistics.ts'
import type { Measure } from './measure.ts'

const INTERVAL_S = 0.02

export const PING: Measure = {
  name: 'ping',
  perFamily: true,

  async describe() {
    return `${(await run(['ping', '-V'])).trim()}, one every ${INTERVAL_S * 1000} ms`
  },

  async run({ from, address, seconds }) {
    const count = Math.ceil(seconds / INTERVAL_S)
    const report = await run(inside(from.netns, ['ping', '-n', '-i', String(INTERVAL_S), '-c', String(count), address]))
    const us = [...report.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms) * 1000)
    return [
      { row: 'ping p50', unit: 'µs', value: percentile(us, 0.5), better: 'less' },
      { row: 'ping p99', unit: 'µs', value: percentile(us, 0.99), better: 'less' },
    ]
  },
}
