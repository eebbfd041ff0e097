/**
 * What polderd itself needs, on node 1: from its start until a ping between two pods is answered; memory without a pod
 * and with many; CPU while nothing happens.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { callPlugin } from '../cni-calls.ts'
import type { Daemon } from '../peers/peer.ts'
import { inside, run } from '../processes.ts'
import type { Measure, Reading, Subject } from './measure.ts'

/** What a Kubernetes node has at most, by default. */
const PODS = 110
/** What a start or a hundred pods leave to be done is done then: the second worker stands by, leftovers are cleared. */
const SETTLE_MS = 8000
const IDLE_S = 5
/** Ends with the first answer; an error that comes back in between, from a node that is not ready yet, is none. */
const UNTIL_ANSWERED = 'until ping -n -q -c 1 -w 30 -i 0.005 "$0" > /dev/null; do :; done'

export const DAEMON: Measure = {
  name: 'daemon',
  perFamily: false,

  async describe() {
    return `polderd and what it started, runner off: smaps_rollup in MB of 1e6 bytes, ${SETTLE_MS / 1000} s after the last change; schedstat of all threads over ${IDLE_S} s; start-up with 2 pods attached, until a ping every 5 ms between them is answered`
  },

  async run(subject) {
    const { topology, network } = subject
    const { plugin, daemon } = network
    if (plugin === undefined || daemon === undefined) throw new Error('this peer has no daemon')
    const readings = [await startUp(subject, daemon)]
    const pods = [network.pod, network.sameNode!].map(({ netns }) => netns)
    await callPlugin(plugin, 'DEL', pods)
    await daemon.restart()
    await daemon.untilAnswers()
    readings.push(...(await rest(daemon, 0)))
    const more = await topology.addPods(Array.from({ length: PODS - pods.length }, (_, i) => `idle${i}`))
    await callPlugin(plugin, 'ADD', [...pods, ...more])
    readings.push(...(await rest(daemon, PODS)))
    return readings
  },
}

async function startUp({ from, address }: Subject, daemon: Daemon): Promise<Reading> {
  const begin = await daemon.restart()
  await run(inside(from.netns, ['timeout', '60', 'sh', '-c', UNTIL_ANSWERED, address]))
  const value = performance.now() - begin
  await daemon.untilAnswers()
  return { row: "polderd's start-up until packets flow", unit: 'ms', value, better: 'less' }
}

async function rest(daemon: Daemon, pods: number): Promise<Reading[]> {
  await delay(SETTLE_MS)
  const { residentMB, proportionalMB } = await daemon.memory()
  const [before, begin] = [await daemon.cpuMs(), performance.now()]
  await delay(IDLE_S * 1000)
  const used = (await daemon.cpuMs()) - before
  const share = (used / (performance.now() - begin)) * 100
  return [
    { row: `polderd's memory, ${pods} pods`, unit: 'MB', value: residentMB, better: 'less' },
    { row: `polderd's memory, ${pods} pods, proportional`, unit: 'MB', value: proportionalMB, better: 'less' },
    { row: `polderd's CPU when idle, ${pods} pods`, unit: '% of a core', value: share, better: 'less' },
  ]
}
