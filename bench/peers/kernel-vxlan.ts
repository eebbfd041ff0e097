/**
 * The kernel's VXLAN device, set up as flannel's vxlan backend does: pods on a bridge, the node routes, a VXLAN device
 * with a permanent neighbour and forwarding entry for the other node, no learning.
 *
 *   pod eth0 ── veth ── cni0 10.245.N.1/24 ── routing ── vxlan0 10.245.N.0/32 ── underlay
 */
import { release } from 'node:os'
import { inside, run } from '../processes.ts'
import { ip, type NodeSite, type Topology, UNDERLAY } from '../topology.ts'
import { type BenchPod, type Network, type Peer, POD_MTU_BYTES } from './peer.ts'

const VXLAN = { vni: 1, port: 4789 }

export const KERNEL_VXLAN: Peer = {
  name: 'kernel vxlan',

  async describe() {
    return `Linux ${release()}, VNI ${VXLAN.vni}, port ${VXLAN.port}, nolearning, pods on a bridge, routed at the node (as flannel), pod MTU ${POD_MTU_BYTES}`
  },

  async up(topology: Topology): Promise<Network> {
    const [one, two] = topology.nodes
    await setUpNode(1, one, 2, two)
    await setUpNode(2, two, 1, one)
    const [pod, sameNode, otherNode] = await topology.addPods(['pod', 'same-node', 'other-node'])
    return {
      pod: await connect(1, one, 2, pod!),
      sameNode: await connect(1, one, 3, sameNode!),
      otherNode: await connect(2, two, 2, otherNode!),
      attachedPods: 2,
      down: async () => {},
    }
  },
}

const vtepMac = (node: number): string => `02:00:00:00:00:0${node}`

async function setUpNode(own: number, node: NodeSite, other: number, remote: NodeSite): Promise<void> {
  const { netns, underlayAddress } = node
  const device = `vxlan0 type vxlan id ${VXLAN.vni} dstport ${VXLAN.port} local ${underlayAddress} dev ${UNDERLAY}`
  await run(inside(netns, ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']))
  await ip(
    [
      'link add cni0 type bridge',
      `link set cni0 mtu ${POD_MTU_BYTES} up`,
      `addr add 10.245.${own}.1/24 dev cni0`,
      `link add ${device} nolearning`,
      `link set vxlan0 address ${vtepMac(own)} mtu ${POD_MTU_BYTES} up`,
      `addr add 10.245.${own}.0/32 dev vxlan0`,
      `neigh add 10.245.${other}.0 lladdr ${vtepMac(other)} dev vxlan0 nud permanent`,
      `route add 10.245.${other}.0/24 via 10.245.${other}.0 dev vxlan0 onlink`,
    ],
    netns,
  )
  const entry = ['fdb', 'append', vtepMac(other), 'dev', 'vxlan0', 'dst', remote.underlayAddress]
  await run(['bridge', '-n', netns, ...entry])
}

async function connect(own: number, node: NodeSite, host: number, netns: string): Promise<BenchPod> {
  const address = `10.245.${own}.${host}`
  const ends = `name veth${host} mtu ${POD_MTU_BYTES} type veth peer name eth0 netns ${netns} mtu ${POD_MTU_BYTES}`
  await ip([`link add ${ends}`, `link set veth${host} master cni0 up`], node.netns)
  const route = `route add default via 10.245.${own}.1`
  await ip([`addr add ${address}/24 dev eth0`, 'link set eth0 up', route], netns)
  return { netns, address }
}
