/** TCP connections opened and closed per second (bench/connections.c). */
import { Background, inside, run } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { type Measure, WARM_UP_S } from './measure.ts'

const PORT = '5204'
/** Ports of closed connections are free again after a second, and there are many. */
const PORTS = 'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range'

export const CONNECTIONS: Measure = {
  name: 'connections',
  perFamily: true,

  async describe() {
    return `bench/connections.c: 8 at a time, each connects, closes, awaits the other's close; tcp_tw_reuse=1, after ${WARM_UP_S} s of warm-up`
  },

  async run({ from, to, address, seconds }) {
    await run(inside(from.netns, ['sh', '-c', PORTS]))
    const server = new Background(inside(to.netns, [PROGRAMS.connections, 'serve', PORT]))
    try {
      await server.untilSays('ready')
      const ask = [PROGRAMS.connections, 'ask', address, PORT, String(WARM_UP_S), String(seconds)]
      const { connections, seconds: measured } = JSON.parse(await run(inside(from.netns, ask)))
      return [{ row: 'TCP connect/close', unit: '1/s', value: connections / measured, better: 'more' }]
    } finally {
      await server.end()
    }
  },
}
