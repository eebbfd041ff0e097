/** Attaching pods: CNI ADD of so many pods one after the other, then DEL of all of them (bench/cni-calls.c). */
import { type CniCall, callPlugin } from '../cni-calls.ts'
import { percentile } from '../statistics.ts'
import type { Measure, Reading } from './measure.ts'

const PODS = 100

export const CNI: Measure = {
  name: 'cni',
  perFamily: false,

  async describe() {
    return `bench/cni-calls.c: ${PODS} pods, one after the other; a call lasts from the plugin's start to its end`
  },

  async run({ topology, network: { plugin } }) {
    if (plugin === undefined) throw new Error('this peer has no CNI plugin')
    const netns = await topology.addPods(Array.from({ length: PODS }, (_, i) => `cni${i}`))
    const added = await callPlugin(plugin, 'ADD', netns)
    const deleted = await callPlugin(plugin, 'DEL', netns)
    return [...callReadings('ADD', added), ...callReadings('DEL', deleted)]
  },
}

function callReadings(command: string, calls: CniCall[]): Reading[] {
  const ms = calls.map(({ us }) => us / 1000)
  return [
    { row: `CNI ${command} p50`, unit: 'ms', value: percentile(ms, 0.5), better: 'less' },
    { row: `CNI ${command} p99`, unit: 'ms', value: percentile(ms, 0.99), better: 'less' },
  ]
}
