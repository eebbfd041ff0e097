/**
 * What the user-space peers have in common: pods on bridges, the nodes joined by a daemon on each. IPv4 only; every one
 * has the largest pod MTU with which nothing it sends is larger than the underlay's 1500 bytes, because one that
 * fragments, or that resends as TCP, is slow for reasons of its set-up.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { missingPackages, packageVersion } from '../packages.ts'
import { type Background, inside, run } from '../processes.ts'
import type { Topology } from '../topology.ts'
import { bridgePods } from './bridged-pods.ts'
import type { Peer } from './peer.ts'

export interface Tunnel {
  name: string
  /** Of the distribution; the first gives the version. */
  packages: readonly [string, ...string[]]
  knobs: string
  podMtuBytes: number
  /** Joins the nodes and routes the pods' ranges; resolves to the daemons it started. */
  join(topology: Topology): Promise<Background[]>
}

const REACH_TIMEOUT_MS = 20_000

export function tunnelPeer({ name, packages, knobs, podMtuBytes, join }: Tunnel): Peer {
  return {
    name,
    kind: 'user-space',
    absence: () => missingPackages(...packages),

    async describe() {
      return `package ${packages[0]} ${await packageVersion(packages[0])}, ${knobs}, IPv4 only, pods on a bridge, pod MTU ${podMtuBytes}`
    },

    async up(topology) {
      const network = await bridgePods(topology, podMtuBytes, 4)
      const daemons = await join(topology)
      await untilReaches(network.pod.netns, network.otherNode!.addresses.ipv4, daemons)
      return { ...network, down: async () => void (await Promise.all(daemons.map((daemon) => daemon.end()))) }
    },
  }
}

async function untilReaches(netns: string, address: string, daemons: readonly Background[]): Promise<void> {
  const ask = inside(netns, ['ping', '-c', '1', '-W', '0.5', address])
  for (const deadline = performance.now() + REACH_TIMEOUT_MS; performance.now() < deadline; await delay(50)) {
    if (daemons.some(({ ended }) => ended)) break
    if (
      await run(ask).then(
        () => true,
        () => false,
      )
    )
      return
  }
  throw new Error(`in vain awaited: a pod reaches ${address}\n${daemons.map(({ said }) => said).join('')}`.trimEnd())
}

/** Awaits the device that a daemon makes. */
export async function untilDevice(netns: string, device: string, daemon: Background): Promise<void> {
  const look = ['ip', '-n', netns, 'link', 'show', 'dev', device]
  for (const deadline = performance.now() + REACH_TIMEOUT_MS; performance.now() < deadline; await delay(10)) {
    if (daemon.ended) break
    if ((await run(look).catch(() => '')) !== '') return
  }
  throw new Error(`in vain awaited: ${device} in ${netns}\n${daemon.said}`.trimEnd())
}
