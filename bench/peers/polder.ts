/**
 * polder: the real polderd in each node's namespace, the pods attached by the real shim. The two polderds share a
 * cluster folder; everything else each has for itself, in the topology's folder.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VERSION } from '../../daemon/version.ts'
import { attachPods } from '../cni-calls.ts'
import { cpuMsOf, memoryOf } from '../process-facts.ts'
import { Background, inside, pidsIn, run } from '../processes.ts'
import { PROGRAMS } from '../programs.ts'
import { listServices, writeServices } from '../service-list.ts'
import { type NodeSite, type Topology, UNDERLAY } from '../topology.ts'
import type { CniPlugin, Daemon, Network, Peer } from './peer.ts'

const POLDERD = fileURLToPath(new URL('../../scripts/polderd', import.meta.url))
const READY_TIMEOUT_MS = 120_000
/** Where both polderds together take less of a processor, they are done. */
const SETTLED_LOOK_MS = 500
const SETTLED_SHARE = 0.03
/** Of those that Services have. */
const SERVED_PORT = '5202'

export const POLDER: Peer = {
  name: 'polder',
  kind: 'polder',

  async describe() {
    return `${VERSION}, Node ${process.versions.node}, one data-path worker a node, default settings: it turns GRO of the underlay on (underlayGro)`
  },

  async up(topology: Topology, services = 0): Promise<Network> {
    const [one, two] = topology.nodes
    const first = await Polderd.start(topology, one)
    const second = await Polderd.start(topology, two)
    const onOne = await topology.addPods(['pod', 'same-node'])
    const [pod, sameNode] = await attachPods(first.plugin, onOne)
    const [otherNode] = await attachPods(second.plugin, await topology.addPods(['other-node']))
    const { ipv4, ipv6 } = otherNode!.addresses
    for (const address of [ipv4, ipv6!]) await untilReaches(pod!.netns, address, [first, second])
    const down = async () => void (await Promise.all([first.stop(), second.stop()]))
    const pods = { pod: pod!, sameNode: sameNode!, otherNode: otherNode!, attachedPods: onOne.length }
    const network = { ...pods, plugin: first.plugin, daemon: first, down }
    return services === 0 ? network : withServices(topology, network, services, [first, second])
  },
}

export function clusterFolderOf(topology: Topology): string {
  return join(topology.folder, 'cluster')
}

async function withServices(
  topology: Topology,
  network: Network,
  count: number,
  daemons: readonly Polderd[],
): Promise<Network> {
  const { services, asked } = listServices(count, network.otherNode!.addresses.ipv4)
  const others = services.filter((one) => one !== asked)
  writeServices(clusterFolderOf(topology), [...others, asked])
  await untilServed(network, asked.clusterIP)
  await untilSettled(daemons)
  return { ...network, clusterIP: asked.clusterIP }
}

/** What loading thousands of Services left is collected: it would take the processors from what is measured. */
async function untilSettled(daemons: readonly Polderd[]): Promise<void> {
  const used = async (): Promise<number> => {
    const each = await Promise.all(daemons.map((daemon) => daemon.cpuMs()))
    return each.reduce((sum, ms) => sum + ms)
  }
  await until('polderd settles', daemons, async () => {
    const before = await used()
    await delay(SETTLED_LOOK_MS)
    return (await used()) - before < SETTLED_LOOK_MS * SETTLED_SHARE
  })
}

/** What was written last is served: so is what was written before. */
export async function untilServed({ pod, otherNode }: Network, clusterIP: string): Promise<void> {
  const server = new Background(inside(otherNode!.netns, [PROGRAMS.rr, 'serve', SERVED_PORT]))
  try {
    await server.untilSays('ready')
    await until(`a Service answers at ${clusterIP}`, [], async () => {
      const connect = `exec 3<>/dev/tcp/${clusterIP}/${SERVED_PORT}`
      await run(inside(pod.netns, ['timeout', '0.2', 'bash', '-c', connect]))
      return true
    })
  } finally {
    await server.end()
  }
}

class Polderd implements Daemon {
  readonly plugin: CniPlugin
  readonly #netns: string
  readonly #command: readonly string[]
  readonly #socket: string
  #process: Background

  private constructor(netns: string, command: readonly string[], socket: string, plugin: CniPlugin) {
    this.#netns = netns
    this.#command = command
    this.#socket = socket
    this.plugin = plugin
    this.#process = new Background(command)
  }

  /** Resolves when it answers and its plugin can be called. */
  static async start(topology: Topology, node: NodeSite): Promise<Polderd> {
    const folder = join(topology.folder, node.name)
    mkdirSync(folder)
    const socket = join(folder, 'polderd.sock')
    const flags = {
      'node-name': node.name,
      'cluster-folder': clusterFolderOf(topology),
      'underlay-interface': UNDERLAY,
      'state-dir': join(folder, 'state'),
      'cni-conf-dir': join(folder, 'net.d'),
      'cni-bin-dir': join(folder, 'bin'),
      socket,
      runner: 'false',
      'log-level': 'warn',
    }
    const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
    const config = join(folder, 'plugin.json')
    const plugin = { program: join(flags['cni-bin-dir'], 'polder-cni'), config, netns: node.netns }
    const command = inside(node.netns, [POLDERD, ...words])
    const polderd = new Polderd(node.netns, command, socket, plugin)
    await until('polderd answers', [polderd], () => answers(socket))
    const list = join(flags['cni-conf-dir'], '10-polder.conflist')
    await until('polderd installs its plugin', [polderd], async () => {
      writeFileSync(config, pluginConfig(readFileSync(list, 'utf8')))
      return true
    })
    return polderd
  }

  get ended(): boolean {
    return this.#process.ended
  }

  get said(): string {
    return this.#process.said
  }

  /** Nothing but polderd, and what it started, stays in a node's namespace. */
  async memory(): Promise<{ residentMB: number; proportionalMB: number }> {
    return memoryOf(await pidsIn(this.#netns))
  }

  async cpuMs(): Promise<number> {
    return cpuMsOf(await pidsIn(this.#netns))
  }

  async restart(): Promise<number> {
    await this.stop()
    const begin = performance.now()
    this.#process = new Background(this.#command)
    return begin
  }

  untilAnswers(): Promise<void> {
    return until('polderd answers', [this], () => answers(this.#socket))
  }

  async stop(): Promise<void> {
    await this.#process.end()
  }
}

/** What a runtime makes of a configuration list for its only plugin. */
function pluginConfig(list: string): string {
  const { cniVersion, name, plugins } = JSON.parse(list)
  return JSON.stringify({ ...plugins[0], cniVersion, name })
}

/** The second polderd is told of the first, and the other way round, within a moment. */
function untilReaches(netns: string, address: string, daemons: Polderd[]): Promise<void> {
  return until(`a pod reaches ${address}`, daemons, async () => {
    await run(inside(netns, ['ping', '-c', '1', '-W', '0.2', address]))
    return true
  })
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: socket, path: '/v1/node' }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200)
    })
    asked.once('error', reject)
    asked.end()
  })
}

/** Awaits a condition; a throw counts as not yet. What goes wrong is told with what the daemons said. */
async function until(what: string, daemons: readonly Polderd[], condition: () => Promise<boolean>): Promise<void> {
  let cause: unknown
  for (const deadline = performance.now() + READY_TIMEOUT_MS; performance.now() < deadline; await delay(2)) {
    try {
      if (await condition()) return
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (daemons.some(({ ended }) => ended)) break
  }
  const said = daemons.map((daemon) => daemon.said).join('')
  throw new Error(`in vain awaited: ${what}\n${said}`.trimEnd(), { cause })
}
