/**
 * Pods on a bridge, one bridge a node, the node routing between it and whatever leads to the other node: how flannel and
 * most others do it. Shared by all peers that bring only that last part of their own.
 *
 *   pod eth0 ── veth ── cni0 10.245.N.1/24, fd00:10:245:N::1/64 ── routing ── the peer's device ── underlay
 */
import { inside, run } from '../processes.ts'
import { ip, type NodeSite, type Topology } from '../topology.ts'
import type { BenchPod, Network } from './peer.ts'

export const podRange = (node: number): string => `10.245.${node}.0/24`
export const podRange6 = (node: number): string => `fd00:10:245:${node}::/64`

/** Gives each node its bridge and its pods. The peer then joins the nodes. */
export async function bridgePods(topology: Topology, mtuBytes: number, families: 4 | 46): Promise<Network> {
  const [one, two] = topology.nodes
  await setUpNode(1, one, mtuBytes, families)
  await setUpNode(2, two, mtuBytes, families)
  const [pod, sameNode, otherNode] = await topology.addPods(['pod', 'same-node', 'other-node'])
  return {
    pod: await connect(1, one, 2, pod!, mtuBytes, families),
    sameNode: await connect(1, one, 3, sameNode!, mtuBytes, families),
    otherNode: await connect(2, two, 2, otherNode!, mtuBytes, families),
    attachedPods: 2,
    down: async () => {},
  }
}

export async function forward(netns: string): Promise<void> {
  const files = ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'].map((file) => `/proc/sys/net/${file}`)
  await run(inside(netns, ['sh', '-c', files.map((file) => `echo 1 > ${file}`).join('; ')]))
}

async function setUpNode(node: number, { netns }: NodeSite, mtuBytes: number, families: 4 | 46): Promise<void> {
  await forward(netns)
  await ip(
    [
      'link add cni0 type bridge',
      `link set cni0 mtu ${mtuBytes} up`,
      `addr add 10.245.${node}.1/24 dev cni0`,
      ...(families === 46 ? [`addr add fd00:10:245:${node}::1/64 dev cni0 nodad`] : []),
    ],
    netns,
  )
}

async function connect(
  node: number,
  site: NodeSite,
  host: number,
  netns: string,
  mtuBytes: number,
  families: 4 | 46,
): Promise<BenchPod> {
  const ends = `name veth${host} mtu ${mtuBytes} type veth peer name eth0 netns ${netns} mtu ${mtuBytes}`
  await ip([`link add ${ends}`, `link set veth${host} master cni0 up`], site.netns)
  const ipv4 = `10.245.${node}.${host}`
  await ip([`addr add ${ipv4}/24 dev eth0`, 'link set eth0 up', `route add default via 10.245.${node}.1`], netns)
  if (families === 4) return { netns, addresses: { ipv4 } }
  const ipv6 = `fd00:10:245:${node}::${host}`
  await ip([`addr add ${ipv6}/64 dev eth0 nodad`, `route add default via fd00:10:245:${node}::1`], netns)
  return { netns, addresses: { ipv4, ipv6 } }
}
