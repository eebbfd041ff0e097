/**
 * TCP throughput: one iperf3 client and server between two pods, what the receiver got, with one and four streams. And
 * what the whole machine spent on it: both nodes, sender and receiver.
 */
import { cpus } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { busyShare, cpuTicks } from '../machine.ts'
import { Background, inside, run } from '../processes.ts'
import type { Measure, Reading, Subject } from './measure.ts'

const PORT = '5201'
/** iperf3 takes whole seconds, here and for the measurement. */
const OMIT_S = 1
/** The CPUs are looked at well inside of what iperf3 counts. */
const MARGIN_MS = 150

export const TCP: Measure = {
  name: 'tcp',
  perFamily: true,

  async describe() {
    const version = (await run(['iperf3', '--version'])).split('\n')[0]!
    return `${version} -C cubic, not paced, received by the server, after ${OMIT_S} s of warm-up; CPU: all cores, /proc/stat, meanwhile`
  },

  async run(subject) {
    return [...(await throughput(subject, 1)), ...(await throughput(subject, 4))]
  },
}

async function throughput({ from, to, address, ...rest }: Subject, streams: number): Promise<Reading[]> {
  const seconds = Math.ceil(rest.seconds)
  const server = new Background(inside(to.netns, ['iperf3', '-s', '-1', '-p', PORT, '--forceflush']))
  try {
    await server.untilSays('Server listening')
    const options = ['-p', PORT, '-C', 'cubic', '-t', String(seconds), '-O', String(OMIT_S), '-P', String(streams)]
    const client = run(inside(from.netns, ['iperf3', '-J', '-c', address, ...options]))
    const [report, busyCores] = await Promise.all([client, busyCoresMeanwhile(seconds)])
    const gigabits: number = JSON.parse(report).end.sum_received.bits_per_second / 1e9
    const row = `TCP ${streams} ${streams === 1 ? 'stream' : 'streams'}`
    return [
      { row, unit: 'Gbit/s', value: gigabits, better: 'more' },
      { row: `${row}, CPU`, unit: 's/Gbit', value: busyCores / gigabits, better: 'less' },
    ]
  } finally {
    await server.end()
  }
}

async function busyCoresMeanwhile(seconds: number): Promise<number> {
  await delay(OMIT_S * 1000 + MARGIN_MS)
  const before = cpuTicks()
  await delay(seconds * 1000 - 2 * MARGIN_MS)
  return busyShare(before, cpuTicks()) * cpus().length
}
