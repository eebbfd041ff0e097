/**
 * Attaching pods: CNI ADD of so many pods one after the other, then DEL of all of them (bench/cni-calls.c), and what
 * polderd needs for it in time and memory, on node 1.
 */
import { type CniCall, callPlugin } from '../cni-calls.ts'
import { percentile } from '../statistics.ts'
import type { Measure, Reading } from './measure.ts'

const PODS = 100

export const CNI: Measure = {
  name: 'cni',

  async describe() {
    return `bench/cni-calls.c: ${PODS} pods, one after the other; a call lasts from the plugin's start to its end`
  },

  async run({ topology, network: { plugin, daemon, attachedPods } }) {
    if (plugin === undefined) throw new Error('this peer has no CNI plugin')
    const netns = await topology.addPods(Array.from({ length: PODS }, (_, i) => `cni${i}`))
    const added = await callPlugin(plugin, 'ADD', netns)
    const residentMB = daemon?.residentMB()
    const deleted = await callPlugin(plugin, 'DEL', netns)
    const readings = [...callReadings('ADD', added), ...callReadings('DEL', deleted)]
    if (daemon === undefined || residentMB === undefined) return readings
    const memory = (pods: number, value: number): Reading => ({
      row: `polderd's memory, ${pods} pods`,
      unit: 'MB',
      value,
      better: 'less',
    })
    return [
      ...readings,
      { row: "polderd's start-up", unit: 'ms', value: daemon.startUpMs, better: 'less' },
      memory(0, daemon.startMB),
      memory(attachedPods + PODS, residentMB),
    ]
  },
}

function callReadings(command: string, calls: CniCall[]): Reading[] {
  const ms = calls.map(({ us }) => us / 1000)
  return [
    { row: `CNI ${command} p50`, unit: 'ms', value: percentile(ms, 0.5), better: 'less' },
    { row: `CNI ${command} p99`, unit: 'ms', value: percentile(ms, 0.99), better: 'less' },
  ]
}
