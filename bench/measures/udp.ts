/** UDP under flood: how many datagrams arrive while a sender sends as fast as it can (bench/udp.c). */
import { Background, inside } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { type Measure, type Reading, type Subject, UDP_PAYLOADS_BYTES, WARM_UP_S } from './measure.ts'

const PORT = '5203'
/** The receiver decides when it is over; the sender outlasts it. */
const SPARE_S = 5

export const UDP: Measure = {
  name: 'udp',
  perFamily: true,

  async describe() {
    return `bench/udp.c: payload as named, sendmmsg and recvmmsg of 64, receive buffer 4 MiB, one flow, after ${WARM_UP_S} s of warm-up`
  },

  async run(subject) {
    const readings: Reading[] = []
    for (const bytes of UDP_PAYLOADS_BYTES) readings.push(await flood(subject, bytes))
    return readings
  },
}

async function flood({ from, to, address, seconds }: Subject, bytes: number): Promise<Reading> {
  const receiver = new Background(inside(to.netns, [PROGRAMS.udp, 'count', PORT, String(WARM_UP_S), String(seconds)]))
  const duration = String(WARM_UP_S + seconds + SPARE_S)
  let sender: Background | undefined
  try {
    await receiver.untilSays('ready')
    sender = new Background(inside(from.netns, [PROGRAMS.udp, 'flood', address, PORT, String(bytes), duration]))
    const report = (await receiver.result()).replace('ready', '')
    const { received, seconds: measured } = JSON.parse(report)
    const value = received / measured / 1000
    return { row: `UDP ${bytes} B delivered`, unit: 'kpps', value, better: 'more' }
  } finally {
    await Promise.all([receiver.end(), sender?.end()])
  }
}
