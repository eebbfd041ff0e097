/** nebula: certificates that name each node's pod range, `unsafe_routes` that lead there. It always encrypts. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Background, inside, run } from '../processes.ts'
import type { Topology } from '../topology.ts'
import { podRange } from './bridged-pods.ts'
import { tunnelPeer } from './tunnel.ts'

const PORT = 4242
/** 1500 less IPv4, UDP, nebula's header and its tag. */
const MTU_BYTES = 1440
const BUFFER_BYTES = 10_485_760

export const NEBULA = tunnelPeer({
  name: 'nebula',
  packages: ['nebula'],
  knobs: `AES-256-GCM, one routine, socket buffers of ${BUFFER_BYTES} bytes`,
  podMtuBytes: MTU_BYTES,

  async join(topology: Topology) {
    const at = (name: string) => join(topology.folder, name)
    await run(['nebula-cert', 'ca', '-name', 'bench', '-out-crt', at('ca.crt'), '-out-key', at('ca.key')])
    const daemons: Background[] = []
    for (const [i, { name, netns }] of topology.nodes.entries()) {
      const files = ['-ca-crt', at('ca.crt'), '-ca-key', at('ca.key'), '-out-crt', at(`${name}.crt`)]
      const facts = ['-name', name, '-ip', `${overlayAddress(i)}/24`, '-subnets', podRange(i + 1)]
      await run(['nebula-cert', 'sign', ...files, '-out-key', at(`${name}.key`), ...facts])
      // JSON is YAML.
      writeFileSync(at(`${name}.yml`), JSON.stringify(configuration(topology, i, at)))
      daemons.push(new Background(inside(netns, ['nebula', '-config', at(`${name}.yml`)])))
    }
    return daemons
  },
})

const overlayAddress = (i: number): string => `10.246.0.${i + 1}`

function configuration(topology: Topology, i: number, at: (name: string) => string): object {
  const { name } = topology.nodes[i]!
  const other = 1 - i
  const anything = [{ port: 'any', proto: 'any', host: 'any' }]
  return {
    pki: { ca: at('ca.crt'), cert: at(`${name}.crt`), key: at(`${name}.key`) },
    static_host_map: { [overlayAddress(other)]: [`${topology.nodes[other]!.underlayAddress}:${PORT}`] },
    lighthouse: { am_lighthouse: false },
    listen: { host: '0.0.0.0', port: PORT, read_buffer: BUFFER_BYTES, write_buffer: BUFFER_BYTES },
    cipher: 'aes',
    tun: {
      dev: 'nebula0',
      mtu: MTU_BYTES,
      unsafe_routes: [{ route: podRange(other + 1), via: overlayAddress(other), mtu: MTU_BYTES }],
    },
    logging: { level: 'error' },
    firewall: { outbound: anything, inbound: anything },
  }
}
