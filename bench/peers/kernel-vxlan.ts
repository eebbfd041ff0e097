/**
 * The kernel's VXLAN device, set up as flannel's vxlan backend does: pods on a bridge, the node routes, a VXLAN device
 * with a permanent neighbour and forwarding entry for the other node, no learning. And the same with what the kernel
 * has to make it faster turned on.
 *
 *   pod eth0 ── veth ── cni0 ── routing ── vxlan0 10.245.N.0/32 ── underlay
 *
 * IPv6 goes through the same device, over the same IPv4 underlay, as polder's does here.
 */
import { release } from 'node:os'
import { inside, run } from '../processes.ts'
import { ip, type NodeSite, type Topology, UNDERLAY } from '../topology.ts'
import { bridgePods, podRange, podRange6 } from './bridged-pods.ts'
import { type Network, type Peer, POD_MTU_BYTES } from './peer.ts'

const VXLAN = { vni: 1, port: 4789 }

export const KERNEL_VXLAN: Peer = {
  name: 'kernel vxlan',
  kind: 'kernel',

  async describe() {
    return `Linux ${release()}, VNI ${VXLAN.vni}, port ${VXLAN.port}, nolearning, pods on a bridge, routed at the node (as flannel), pod MTU ${POD_MTU_BYTES}, devices as the kernel makes them`
  },

  async up(topology: Topology): Promise<Network> {
    const [one, two] = topology.nodes
    const network = await bridgePods(topology, POD_MTU_BYTES, 46)
    await addVxlan(1, one, 2, two)
    await addVxlan(2, two, 1, one)
    return network
  },
}

export const KERNEL_VXLAN_TUNED: Peer = {
  name: 'kernel vxlan, tuned',
  kind: 'tuned',

  async describe() {
    return 'the same; gro on for the underlay, as polder does; gro and rx-udp-gro-forwarding on for vxlan0 and for the veths of pods at the node, threaded NAPI for these veths'
  },

  async up(topology: Topology): Promise<Network> {
    const network = await KERNEL_VXLAN.up(topology)
    await tune(topology.nodes[0].netns, ['veth2', 'veth3'])
    await tune(topology.nodes[1].netns, ['veth2'])
    return network
  },
}

const vtepMac = (node: number): string => `02:00:00:00:00:0${node}`

async function addVxlan(own: number, node: NodeSite, other: number, remote: NodeSite): Promise<void> {
  const { netns, underlayAddress } = node
  const device = `vxlan0 type vxlan id ${VXLAN.vni} dstport ${VXLAN.port} local ${underlayAddress} dev ${UNDERLAY}`
  await ip(
    [
      `link add ${device} nolearning`,
      `link set vxlan0 address ${vtepMac(own)} mtu ${POD_MTU_BYTES} up`,
      `addr add 10.245.${own}.0/32 dev vxlan0`,
      `addr add fd00:10:245:${own}::/128 dev vxlan0 nodad`,
      `neigh add 10.245.${other}.0 lladdr ${vtepMac(other)} dev vxlan0 nud permanent`,
      `neigh add fd00:10:245:${other}:: lladdr ${vtepMac(other)} dev vxlan0 nud permanent`,
      `route add ${podRange(other)} via 10.245.${other}.0 dev vxlan0 onlink`,
      `route add ${podRange6(other)} via fd00:10:245:${other}:: dev vxlan0 onlink`,
    ],
    netns,
  )
  const entry = ['fdb', 'append', vtepMac(other), 'dev', 'vxlan0', 'dst', remote.underlayAddress]
  await run(['bridge', '-n', netns, ...entry])
}

/**
 * Of the underlay device GRO, which polder turns on too; the rest is the wire's. Threaded NAPI only for the veths: on vxlan0, Linux
 * 6.18 then loses its wake-ups under load, and TCP stops for seconds.
 */
async function tune(netns: string, veths: readonly string[]): Promise<void> {
  await run(inside(netns, ['ethtool', '-K', UNDERLAY, 'gro', 'on']))
  for (const device of ['vxlan0', ...veths])
    await run(inside(netns, ['ethtool', '-K', device, 'gro', 'on', 'rx-udp-gro-forwarding', 'on']))
  // A namespace sees its own devices only in a sysfs that was mounted in it.
  const files = veths.map((device) => `echo 1 > /sys/class/net/${device}/threaded`)
  await run(inside(netns, ['unshare', '--mount', 'sh', '-c', ['mount -t sysfs sysfs /sys', ...files].join(' && ')]))
}
