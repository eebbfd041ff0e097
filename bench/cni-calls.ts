/** Calls a CNI plugin for namespaces, one after the other: bench/cni-calls.c, which times each call. */
import type { BenchPod, CniPlugin } from './peers/peer.ts'
import { inside, run } from './processes.ts'
import { PROGRAMS } from './programs.ts'

export interface CniCall {
  us: number
  /** The plugin's answer; DEL has none. */
  result: { ips?: { address: string }[] } | null
}

export async function callPlugin(plugin: CniPlugin, command: 'ADD' | 'DEL', netns: string[]): Promise<CniCall[]> {
  const paths = netns.map((name) => `/run/netns/${name}`)
  const calls = await run(inside(plugin.netns, [PROGRAMS.cniCalls, command, plugin.program, plugin.config, ...paths]))
  return JSON.parse(calls) as CniCall[]
}

/** Attaches namespaces and resolves to them as pods, with the IPv4 address each was given. */
export async function attachPods(plugin: CniPlugin, netns: string[]): Promise<BenchPod[]> {
  const calls = await callPlugin(plugin, 'ADD', netns)
  return calls.map(({ result }, i) => {
    const ip = result?.ips?.find(({ address }) => !address.includes(':'))
    if (ip === undefined) throw new Error(`${plugin.program} gave no IPv4 address: ${JSON.stringify(result)}`)
    return { netns: netns[i]!, address: ip.address.split('/')[0]! }
  })
}
