/** tinc in router mode: a TUN device, each node the owner of its pod range. Packets are neither encrypted nor signed. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Background, inside, run } from '../processes.ts'
import { ip, type Topology } from '../topology.ts'
import { podRange } from './bridged-pods.ts'
import { tunnelPeer, untilDevice } from './tunnel.ts'

const DEVICE = 'tinc0'
/** 1500 less IPv4, UDP, tinc's sequence number and the Ethernet header that it carries even for a TUN device. */
const MTU_BYTES = 1440
const KEY_BITS = '1024'

export const TINC = tunnelPeer({
  name: 'tinc',
  packages: ['tinc'],
  knobs: 'router mode, Cipher = none, Digest = none, Compression = 0',
  podMtuBytes: MTU_BYTES,

  async join(topology: Topology) {
    for (const node of topology.nodes) await configure(topology, node.name)
    // Each has the other's public key.
    for (const [from, to] of [
      ['node1', 'node2'],
      ['node2', 'node1'],
    ] as const)
      await run(['cp', join(folderOf(topology, from), 'hosts', from), join(folderOf(topology, to), 'hosts')])
    const daemons: Background[] = []
    for (const [i, { netns, name }] of topology.nodes.entries()) {
      const folder = folderOf(topology, name)
      const words = ['tincd', '-D', '-c', folder, `--pidfile=${join(folder, 'pid')}`]
      const daemon = new Background(inside(netns, words))
      daemons.push(daemon)
      await untilDevice(netns, DEVICE, daemon)
      await ip([`link set ${DEVICE} mtu ${MTU_BYTES} up`, `route add ${podRange(2 - i)} dev ${DEVICE}`], netns)
    }
    return daemons
  },
})

const folderOf = (topology: Topology, node: string): string => join(topology.folder, `tinc-${node}`)

async function configure(topology: Topology, node: 'node1' | 'node2'): Promise<void> {
  const folder = folderOf(topology, node)
  mkdirSync(join(folder, 'hosts'), { recursive: true })
  const i = node === 'node1' ? 0 : 1
  const own = [`Name = ${node}`, `Interface = ${DEVICE}`, 'AddressFamily = ipv4']
  writeFileSync(join(folder, 'tinc.conf'), [...own, ...(i === 1 ? ['ConnectTo = node1'] : []), ''].join('\n'))
  const host = [
    `Address = ${topology.nodes[i]!.underlayAddress}`,
    `Subnet = ${podRange(i + 1)}`,
    'Cipher = none',
    'Digest = none',
    'Compression = 0',
    '',
  ]
  writeFileSync(join(folder, 'hosts', node), host.join('\n'))
  await run(['tincd', '-c', folder, '-K', KEY_BITS])
}
