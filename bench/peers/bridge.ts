/**
 * veth + bridge: pods of one node on a Linux bridge, made by Debian's own CNI plugins `bridge` and `host-local`. IPv4
 * only: with IPv6 the plugin waits for duplicate address detection, which is not what is to be measured.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachPods } from '../cni-calls.ts'
import { run } from '../processes.ts'
import type { Topology } from '../topology.ts'
import { type CniPlugin, type Network, type Peer, POD_MTU_BYTES } from './peer.ts'

const PLUGIN_FOLDER = '/usr/lib/cni'

export const BRIDGE: Peer = {
  name: 'veth + bridge',

  async describe() {
    const about = await run(['dpkg-query', '-s', 'containernetworking-plugins'])
    const version = /^Version: (.*)$/m.exec(about)?.[1]
    return `CNI plugins bridge + host-local ${version}, IPv4 only, no masquerading, pod MTU ${POD_MTU_BYTES}`
  },

  async up(topology: Topology): Promise<Network> {
    const config = join(topology.folder, 'bridge.json')
    writeFileSync(config, JSON.stringify(configuration(topology)))
    const plugin: CniPlugin = { program: `${PLUGIN_FOLDER}/bridge`, config, netns: topology.nodes[0].netns }
    const [pod, sameNode] = await attachPods(plugin, await topology.addPods(['pod', 'same-node']))
    return { pod: pod!, sameNode: sameNode!, attachedPods: 2, plugin, down: async () => {} }
  },
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
