/** n2n, version 1: a TAP device on each node, frames straight from edge to edge once the supernode has made them known. */
import { Background, inside } from '../processes.ts'
import { ip, type Topology } from '../topology.ts'
import { podRange } from './bridged-pods.ts'
import { tunnelPeer, untilDevice } from './tunnel.ts'

const DEVICE = 'n2n0'
const SUPERNODE_PORT = 7654
/** 1500 less IPv4, UDP, its header and the Ethernet header that it carries, rounded down. */
const MTU_BYTES = 1360

export const N2N = tunnelPeer({
  name: 'n2n',
  packages: ['n2n'],
  knobs: 'Twofish (it has no other), one supernode on node 1, UDP 1400 B in two fragments',
  podMtuBytes: MTU_BYTES,

  async join(topology: Topology) {
    const [one] = topology.nodes
    const supernode = ['supernode', '-l', String(SUPERNODE_PORT)]
    const daemons = [new Background(inside(one.netns, supernode))]
    for (const [i, { netns }] of topology.nodes.entries()) {
      const network = [
        '-a',
        overlayAddress(i),
        '-c',
        'bench',
        '-k',
        'bench',
        '-l',
        `${one.underlayAddress}:${SUPERNODE_PORT}`,
      ]
      const words = ['edge', '-d', DEVICE, ...network, '-M', String(MTU_BYTES), '-r']
      const daemon = new Background(inside(netns, words))
      daemons.push(daemon)
      await untilDevice(netns, DEVICE, daemon)
      await ip(
        [`link set ${DEVICE} up`, `route add ${podRange(2 - i)} via ${overlayAddress(1 - i)} dev ${DEVICE} onlink`],
        netns,
      )
    }
    return daemons
  },
})

const overlayAddress = (i: number): string => `10.246.0.${i + 1}`
