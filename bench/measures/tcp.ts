/** TCP throughput: one iperf3 client and server between two pods, what the receiver got, with one and four streams. */
import { Background, inside, run } from '../processes.ts'
import { type Measure, type Reading, type Subject, WARM_UP_S } from './measure.ts'

const PORT = '5201'

export const TCP: Measure = {
  name: 'tcp',

  async describe() {
    const version = (await run(['iperf3', '--version'])).split('\n')[0]!
    return `${version} -C cubic, received by the server, after ${WARM_UP_S} s of warm-up`
  },

  async run(subject) {
    return [await throughput(subject, 1), await throughput(subject, 4)]
  },
}

async function throughput({ from, to, seconds }: Subject, streams: number): Promise<Reading> {
  const server = new Background(inside(to.netns, ['iperf3', '-s', '-1', '-p', PORT, '--forceflush']))
  try {
    await server.untilSays('Server listening')
    const options = ['-p', PORT, '-C', 'cubic', '-t', String(seconds), '-O', String(WARM_UP_S), '-P', String(streams)]
    const report = await run(inside(from.netns, ['iperf3', '-J', '-c', to.address, ...options]))
    const bitsPerSecond: number = JSON.parse(report).end.sum_received.bits_per_second
    const row = `TCP ${streams} ${streams === 1 ? 'stream' : 'streams'}`
    return { row, unit: 'Gbit/s', value: bitsPerSecond / 1e9, better: 'more' }
  } finally {
    await server.end()
  }
}
