/** UDP without a flood: the highest rate at which under 1 % is lost (bench/udp-rate.c). */
import { Background, inside, run } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { type Measure, type Reading, type Subject, UDP_PAYLOADS_BYTES } from './measure.ts'

const PORT = '5205'
/** A search is some ten to twenty probes. */
const PROBE_SHARE = 0.1

export const UDP_RATE: Measure = {
  name: 'udp-rate',
  perFamily: true,

  async describe() {
    return `bench/udp-rate.c: payload as named, one flow, paced batches of sendmmsg, 8 halvings, a probe is ${PROBE_SHARE} of a measurement`
  },

  async run(subject) {
    const readings: Reading[] = []
    for (const bytes of UDP_PAYLOADS_BYTES) readings.push(await search(subject, bytes))
    return readings
  },
}

async function search({ from, to, address, seconds }: Subject, bytes: number): Promise<Reading> {
  const receiver = new Background(inside(to.netns, [PROGRAMS.udpRate, 'serve', PORT]))
  try {
    await receiver.untilSays('ready')
    const probe = String(seconds * PROBE_SHARE)
    const report = await run(inside(from.netns, [PROGRAMS.udpRate, 'search', address, PORT, String(bytes), probe]))
    const row = `UDP ${bytes} B with under 1 % lost`
    return { row, unit: 'kpps', value: JSON.parse(report).kpps, better: 'more' }
  } finally {
    await receiver.end()
  }
}
