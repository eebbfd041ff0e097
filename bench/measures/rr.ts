/** Latency: one-byte TCP request/response between two pods (bench/rr.c). */
import { Background, inside, run } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { type Measure, WARM_UP_S } from './measure.ts'

const PORT = '5202'

export const RR: Measure = {
  name: 'rr',
  perFamily: true,

  async describe() {
    return `bench/rr.c: one byte there and back on one connection, blocking, TCP_NODELAY, cubic, after ${WARM_UP_S} s of warm-up`
  },

  async run({ from, to, address, seconds }) {
    const server = new Background(inside(to.netns, [PROGRAMS.rr, 'serve', PORT]))
    try {
      await server.untilSays('ready')
      const times = [String(WARM_UP_S), String(seconds)]
      const report = await run(inside(from.netns, [PROGRAMS.rr, 'ask', address, PORT, ...times]))
      const { transactions, seconds: measured, p50Us, p99Us } = JSON.parse(report)
      return [
        { row: 'request/response p50', unit: 'µs', value: p50Us, better: 'less' },
        { row: 'request/response p99', unit: 'µs', value: p99Us, better: 'less' },
        { row: 'request/response', unit: 'transactions/s', value: transactions / measured, better: 'more' },
      ]
    } finally {
      await server.end()
    }
  },
}
