/** UDP under flood: how many datagrams of 64 bytes arrive while a sender sends as fast as it can (bench/udp.c). */
import { Background, inside } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { type Measure, WARM_UP_S } from './measure.ts'

const PORT = '5203'
const PAYLOAD_BYTES = 64
/** The receiver decides when it is over; the sender outlasts it. */
const SPARE_S = 5

export const UDP: Measure = {
  name: 'udp',

  async describe() {
    return `bench/udp.c: ${PAYLOAD_BYTES} bytes of payload, sendmmsg and recvmmsg of 64, receive buffer 4 MiB, one flow, after ${WARM_UP_S} s of warm-up`
  },

  async run({ from, to, seconds }) {
    const receiver = new Background(inside(to.netns, [PROGRAMS.udp, 'count', PORT, String(WARM_UP_S), String(seconds)]))
    const duration = String(WARM_UP_S + seconds + SPARE_S)
    let sender: Background | undefined
    try {
      await receiver.untilSays('ready')
      const flood = [PROGRAMS.udp, 'flood', to.address, PORT, String(PAYLOAD_BYTES), duration]
      sender = new Background(inside(from.netns, flood))
      const report = (await receiver.result()).replace('ready', '')
      const { received, seconds: measured } = JSON.parse(report)
      const value = received / measured / 1000
      return [{ row: `UDP ${PAYLOAD_BYTES} B delivered`, unit: 'kpps', value, better: 'more' }]
    } finally {
      await Promise.all([receiver.end(), sender?.end()])
    }
  },
}
