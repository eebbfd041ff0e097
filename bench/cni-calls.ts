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

/** Attaches namespaces and resolves to them as pods, with the addresses each was given. */
export async function attachPods(plugin: CniPlugin, netns: string[]): Promise<BenchPod[]> {
  const calls = await callPlugin(plugin, 'ADD', netns)
  return calls.map(({ result }, i) => {
    const given = result?.ips?.map(({ address }) => address.split('/')[0]!) ?? []
    const ipv4 = given.find((address) => !address.includes(':'))
    const ipv6 = given.find((address) => address.includes(':'))
    if (ipv4 === undefined) throw new Error(`${plugin.program} gave no IPv4 address: ${JSON.stringify(result)}`)
    return { netns: netns[i]!, addresses: ipv6 === undefined ? { ipv4 } : { ipv4, ipv6 } }
  })
}
