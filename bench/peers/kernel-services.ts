/**
 * The kernel's ways to a Service, on top of its VXLAN device: DNAT by an nftables map, and by iptables rules one after the
 * other, as kube-proxy makes them in these two modes.
 */
import { missingPackages, packageVersion } from '../packages.ts'
import { inside, run } from '../processes.ts'
import { iptablesRules, listServices, nftablesRules } from '../service-list.ts'
import type { Topology } from '../topology.ts'
import { KERNEL_VXLAN } from './kernel-vxlan.ts'
import type { Network, Peer } from './peer.ts'

export const NFTABLES_MAP: Peer = {
  name: 'nftables map',
  kind: 'kernel',

  async describe() {
    const version = await packageVersion('nftables')
    return `kernel vxlan, and nftables ${version}: DNAT by one verdict map, numgen random (as kube-proxy --proxy-mode=nftables)`
  },

  up: (topology, services = 1) => upWith(topology, services, ['nft', '-f', '-'], nftablesRules),
}

export const IPTABLES: Peer = {
  name: 'iptables',
  kind: 'tuned',

  absence: () => missingPackages('iptables'),

  async describe() {
    const version = (await run(['iptables', '--version'])).trim()
    return `kernel vxlan, and ${version}: DNAT by a rule for each Service, statistic random (as kube-proxy --proxy-mode=iptables)`
  },

  up: (topology, services = 1) => upWith(topology, services, ['iptables-restore', '--noflush'], iptablesRules),
}

async function upWith(
  topology: Topology,
  count: number,
  program: readonly string[],
  rulesOf: typeof nftablesRules,
): Promise<Network> {
  const network = await KERNEL_VXLAN.up(topology)
  const { services, asked } = listServices(count, network.otherNode!.addresses.ipv4)
  await run(inside(topology.nodes[0].netns, program), rulesOf(services, asked))
  return { ...network, clusterIP: asked.clusterIP }
}
