/**
 * veth + bridge: pods of one node on a Linux bridge, made by Debian's own CNI plugins `bridge` and `host-local`. The
 * plugins give IPv4 only: with IPv6 they wait for duplicate address detection, which is not what is to be measured. IPv6
 * is added to the pods that traffic goes between.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachPods } from '../cni-calls.ts'
import { packageVersion } from '../packages.ts'
import { ip, type Topology } from '../topology.ts'
import { type BenchPod, type CniPlugin, type Network, type Peer, POD_MTU_BYTES } from './peer.ts'

const PLUGIN_FOLDER = '/usr/lib/cni'

export const BRIDGE: Peer = {
  name: 'veth + bridge',
  kind: 'kernel',

  async describe() {
    const version = await packageVersion('containernetworking-plugins')
    return `CNI plugins bridge + host-local ${version}, IPv4 by them, IPv6 by hand, no masquerading, pod MTU ${POD_MTU_BYTES}`
  },

  async up(topology: Topology): Promise<Network> {
    const config = join(topology.folder, 'bridge.json')
    writeFileSync(config, JSON.stringify(configuration(topology)))
    const plugin: CniPlugin = { program: `${PLUGIN_FOLDER}/bridge`, config, netns: topology.nodes[0].netns }
    const pods = await attachPods(plugin, await topology.addPods(['pod', 'same-node']))
    const [pod, sameNode] = await Promise.all(pods.map((one, i) => addIpv6(one, i + 2)))
    return { pod: pod!, sameNode: sameNode!, attachedPods: 2, plugin, down: async () => {} }
  },
}

async function addIpv6({ netns, addresses }: BenchPod, host: number): Promise<BenchPod> {
  const ipv6 = `fd00:10:245:1::${host}`
  await ip([`addr add ${ipv6}/64 dev eth0 nodad`], netns)
  return { netns, addresses: { ...addresses, ipv6 } }
}

function configuration(topology: Topology): object {
  return {
    cniVersion: '1.0.0',
    name: 'bench',
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    mtu: POD_MTU_BYTES,
    ipam: {
      type: 'host-local',
      dataDir: join(topology.folder, 'host-local'),
      ranges: [[{ subnet: '10.245.1.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  }
}
