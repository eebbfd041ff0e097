/** wireguard-go: WireGuard in user space, configured by `wg`. It always encrypts. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Background, inside, run } from '../processes.ts'
import { ip, type Topology } from '../topology.ts'
import { podRange } from './bridged-pods.ts'
import { tunnelPeer, untilDevice } from './tunnel.ts'

const PORT = 51820
const SOCKET_FOLDER = '/var/run/wireguard'
/** 1500 less IPv4, UDP and WireGuard's own 32 bytes. */
const MTU_BYTES = 1440

export const WIREGUARD_GO = tunnelPeer({
  name: 'wireguard-go',
  packages: ['wireguard-go', 'wireguard-tools'],
  knobs: 'ChaCha20-Poly1305 (it has no other)',
  podMtuBytes: MTU_BYTES,

  async join(topology: Topology) {
    const keys = await Promise.all(topology.nodes.map(() => makeKeys()))
    const daemons: Background[] = []
    for (const [i, { netns, name }] of topology.nodes.entries()) {
      // Its control socket lies in a folder that all namespaces share: so the name is this bench's own.
      const device = `wg${process.pid}n${i + 1}`
      topology.owns(`${SOCKET_FOLDER}/${device}.sock`)
      const daemon = new Background(inside(netns, ['env', 'LOG_LEVEL=error', 'wireguard-go', '-f', device]))
      daemons.push(daemon)
      await untilDevice(netns, device, daemon)
      const key = join(topology.folder, `${name}.key`)
      writeFileSync(key, keys[i]!.private, { mode: 0o600 })
      const other = 1 - i
      const peer = ['peer', keys[other]!.public, 'endpoint', `${topology.nodes[other]!.underlayAddress}:${PORT}`]
      const own = ['set', device, 'listen-port', String(PORT), 'private-key', key]
      await run(inside(netns, ['wg', ...own, ...peer, 'allowed-ips', podRange(other + 1)]))
      await ip([`link set ${device} mtu ${MTU_BYTES} up`, `route add ${podRange(other + 1)} dev ${device}`], netns)
    }
    return daemons
  },
})

async function makeKeys(): Promise<{ private: string; public: string }> {
  const key = (await run(['wg', 'genkey'])).trim()
  return { private: key, public: (await run(['wg', 'pubkey'], key)).trim() }
}
