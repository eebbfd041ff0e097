/**
 * Where a bench takes place: two nodes and the pods' namespaces, on one machine, joined by nothing else.
 *
 *   polder-b<pid>-node1 ── underlay 192.0.2.1/24 ══ veth, MTU 1500 ══ 192.0.2.2/24 underlay ── polder-b<pid>-node2
 *
 * Each turn of a bench has a topology of its own, so nothing of one peer is left for the next. Everything goes when it
 * is removed, when this process ends, or, if that was killed, when the next bench begins.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inside, pidsIn, run } from './processes.ts'

const PREFIX = 'polder-b'

/** The offloads of the veth between the nodes; a device's other settings stay as the kernel makes them. */
export const WIRES = {
  mtu: {
    text: 'MTU-size frames, checksums in software (veth with tso, gso, gro, tx, rx off)',
    ethtool: 'tso off gso off tx-udp-segmentation off gro off tx off rx off',
  },
  nic: {
    text: 'MTU-size frames, GRO and checksum offload: like a plain network card (veth with tso, UDP segmentation off; gro on)',
    ethtool: 'tso off tx-udp-segmentation off gro on tx on rx on',
  },
  full: {
    text: "veth's own super-packets: no real wire, but what a lab on one machine sees (veth as the kernel makes it)",
    ethtool: undefined,
  },
} as const

export type Wire = keyof typeof WIRES
export const WIRE_NAMES = Object.keys(WIRES) as Wire[]

export interface NodeSite {
  name: 'node1' | 'node2'
  netns: string
  underlayAddress: string
}

export const UNDERLAY = 'underlay'
export const UNDERLAY_MTU_BYTES = 1500

/**
 * How a socket begins, before a program says cubic. Where the machine's default is BBR it would begin with BBR's pacing, and
 * keep it: a timer for each packet that leaves.
 */
const UNPACED = 'net.ipv4.tcp_congestion_control=reno'

const namespaces = new Set<string>()
/** Folders, and files elsewhere. */
const files = new Set<string>()
process.once('exit', () => {
  for (const name of namespaces) {
    const listed = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout
    for (const pid of listed.split('\n').filter(Boolean)) kill(Number(pid))
  }
  spawnSync('ip', ['-force', '-batch', '-'], { input: deletion(namespaces) })
  for (const path of files) rmSync(path, { recursive: true, force: true })
})

export class Topology {
  readonly nodes: readonly [NodeSite, NodeSite] = [site('node1', '192.0.2.1'), site('node2', '192.0.2.2')]
  /** A folder of its own, for files of whatever is set up here. */
  readonly folder: string
  readonly #namespaces: string[] = []
  readonly #files: string[] = []

  private constructor() {
    this.folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`))
    this.owns(this.folder)
  }

  static async create(wire: Wire): Promise<Topology> {
    const topology = new Topology()
    const [one, two] = topology.nodes
    await topology.#add([one.netns, two.netns])
    const ends = `name ${UNDERLAY} netns ${one.netns} mtu ${UNDERLAY_MTU_BYTES} type veth peer name ${UNDERLAY}`
    await ip([`link add ${ends} netns ${two.netns} mtu ${UNDERLAY_MTU_BYTES}`])
    for (const { netns, underlayAddress } of topology.nodes) {
      await ip(['link set lo up', `addr add ${underlayAddress}/24 dev ${UNDERLAY}`, `link set ${UNDERLAY} up`], netns)
      const { ethtool } = WIRES[wire]
      if (ethtool !== undefined) await run(inside(netns, ['ethtool', '-K', UNDERLAY, ...ethtool.split(' ')]))
    }
    return topology
  }

  /** Namespaces for pods, with nothing in them but a loopback. */
  async addPods(words: readonly string[]): Promise<string[]> {
    const names = words.map((word) => `${PREFIX}${process.pid}-${word}`)
    await this.#add(names)
    for (const name of names) {
      await ip(['link set lo up'], name)
      await run(inside(name, ['sysctl', '-q', UNPACED]))
    }
    return names
  }

  async remove(): Promise<void> {
    // What a daemon left running of its own, too: polder's keeper outlives polderd.
    for (const name of this.#namespaces) for (const pid of await pidsIn(name)) kill(pid)
    await ip(deletion(this.#namespaces).trimEnd().split('\n'))
    for (const name of this.#namespaces) namespaces.delete(name)
    for (const path of this.#files) {
      rmSync(path, { recursive: true, force: true })
      files.delete(path)
    }
  }

  /** What a daemon makes outside of the folder: it goes with the topology. */
  owns(path: string): void {
    this.#files.push(path)
    files.add(path)
  }

  async #add(names: readonly string[]): Promise<void> {
    for (const name of names) {
      namespaces.add(name)
      this.#namespaces.push(name)
    }
    await ip(names.map((name) => `netns add ${name}`))
  }
}

/** Runs lines of `ip` in one process, in a namespace or in the machine's own. */
export async function ip(lines: readonly string[], netns?: string): Promise<void> {
  const where = netns === undefined ? [] : ['-n', netns]
  await run(['ip', ...where, '-batch', '-'], `${lines.join('\n')}\n`)
}

/** What benches that were killed have left: namespaces, the processes in them, folders. */
export async function removeStale(): Promise<void> {
  const listed = await run(['ip', 'netns', 'list'])
  const stale = listed
    .split('\n')
    .map((line) => line.split(' ')[0]!)
    .filter(isStale)
  for (const name of stale) for (const pid of await pidsIn(name)) kill(pid)
  if (stale.length > 0) await ip(stale.map((name) => `netns del ${name}`))
  for (const name of readdirSync(tmpdir()).filter(isStale)) rmSync(join(tmpdir(), name), { recursive: true })
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

function isStale(name: string): boolean {
  const pid = /^polder-b(\d+)-/.exec(name)?.[1]
  if (pid === undefined) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch {
    return true
  }
}

function site(name: NodeSite['name'], underlayAddress: string): NodeSite {
  return { name, netns: `${PREFIX}${process.pid}-${name}`, underlayAddress }
}

function deletion(names: Iterable<string>): string {
  return [...names].map((name) => `netns del ${name}\n`).join('')
}
