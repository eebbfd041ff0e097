/**
 * A cluster of real polderds without containers: each node a network namespace on one underlay bridge, each pod a
 * namespace attached by the real CNI plugin.
 *
 *   pod ─TUN─ polderd (node1) ─veth─┐
 *                                   ├ bridge `underlay`, 198.18.0.0/24
 *   pod ─TUN─ polderd (node2) ─veth─┘
 */

import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NodeInfo } from '../../daemon/api/types.ts'
import { endKeeper } from '../../daemon/handover/open.ts'
import { getJson } from './http.ts'
import { Netns, type NetnsProcess, until } from './netns.ts'
import { runShim, type ShimAnswer } from './shim.ts'

const ROOT = join(import.meta.dirname, '../..')
const START_TIMEOUT_MS = 30_000

export interface Pod {
  netns: Netns
  containerId: string
  v4: string
  v6: string
}

export class TestNode {
  readonly name: string
  readonly netns: Netns
  readonly underlayAddress: string
  readonly #folder: string
  readonly clusterFolder: string
  #polderd: NetnsProcess | undefined
  /** A command that starts polderd: `env NAME=VALUE`, say. */
  wrapper: string[] = []

  constructor(name: string, netns: Netns, underlayAddress: string, folder: string) {
    this.name = name
    this.netns = netns
    this.underlayAddress = underlayAddress
    this.#folder = join(folder, name)
    this.clusterFolder = join(folder, 'cluster')
    mkdirSync(this.#folder)
  }

  get socket(): string {
    return join(this.#folder, 'polderd.sock')
  }

  get stateDir(): string {
    return join(this.#folder, 'state')
  }

  get cniConfDir(): string {
    return join(this.#folder, 'net.d')
  }

  get cniBinDir(): string {
    return join(this.#folder, 'bin')
  }

  get log(): string {
    return this.#polderd === undefined ? '' : this.#polderd.stdout + this.#polderd.stderr
  }

  /** To the standard input of what started polderd. */
  tell(text: string): void {
    this.#polderd!.write(text)
  }

  get running(): boolean {
    return this.#polderd?.running === true
  }

  get pid(): number {
    return this.#polderd!.pid
  }

  /** Resolves when polderd says that the node is ready. */
  async start(...flags: string[]): Promise<void> {
    const polderd = this.spawn(...flags)
    this.#polderd = polderd
    await until(() => !polderd.running || polderd.stdout.includes('the node is ready'), START_TIMEOUT_MS)
    if (!polderd.running) throw new Error(`polderd of ${this.name} ended:\n${this.log}`)
  }

  /** Another polderd takes over from the one that runs; resolves when that one has ended, to its exit code. */
  async takeOver(...flags: string[]): Promise<number> {
    const [before, next] = [this.#polderd!, this.spawn('--takeover', ...flags)]
    await until(() => !next.running || next.stdout.includes('the node is ready'), START_TIMEOUT_MS)
    if (!next.running) throw new Error(`the polderd that was to take over ended:\n${next.stdout}${next.stderr}`)
    this.became(next)
    return before.ended
  }

  /** A polderd of spawn() has taken over. */
  became(polderd: NetnsProcess): void {
    this.#polderd = polderd
  }

  /** A polderd with this node's settings, which may not be the node's yet. */
  spawn(...flags: string[]): NetnsProcess {
    const setting = (name: string, value: string): string[] => [`--${name}`, value]
    return this.netns.spawn(
      ...this.wrapper,
      join(ROOT, 'scripts/polderd'),
      ...setting('node-name', this.name),
      ...setting('cluster-folder', this.clusterFolder),
      ...setting('state-dir', this.stateDir),
      ...setting('socket', this.socket),
      ...setting('cni-conf-dir', this.cniConfDir),
      ...setting('cni-bin-dir', this.cniBinDir),
      ...setting('underlay-interface', 'underlay'),
      ...setting('runner', 'false'),
      ...flags,
    )
  }

  /** SIGTERM, and resolves to the exit code. */
  async stop(): Promise<number> {
    return this.#polderd?.end() ?? 0
  }

  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL')
    await this.#polderd!.ended
  }

  info(): Promise<NodeInfo> {
    return getJson<NodeInfo>(this.socket, '/v1/node')
  }

  get<T>(path: string): Promise<T> {
    return getJson<T>(this.socket, path)
  }

  /** A fresh namespace, attached by CNI ADD on the list's own configuration with `changes`. */
  async addPod(word: string, changes: object = {}): Promise<Pod> {
    const netns = await Netns.create(word)
    const containerId = netns.name
    const { ips } = JSON.parse(await this.cni('ADD', containerId, netns.path, changes)) as {
      ips: { address: string }[]
    }
    const [v4, v6] = ips.map(({ address }) => address.split('/')[0]!)
    return { netns, containerId, v4: v4!, v6: v6! }
  }

  async removePod(pod: Pod): Promise<void> {
    await this.cni('DEL', pod.containerId, pod.netns.path)
    await pod.netns[Symbol.asyncDispose]()
  }

  /** Runs the real shim; resolves to what it prints, rejects where it fails. */
  async cni(command: string, containerId: string, netns: string, changes: object = {}): Promise<string> {
    const environment = { CNI_COMMAND: command, CNI_CONTAINERID: containerId, CNI_NETNS: netns, CNI_IFNAME: 'eth0' }
    const { code, stdout, stderr } = await this.shim(environment, changes)
    if (code !== 0) throw new Error(`CNI ${command} failed: ${stdout}${stderr}`)
    return stdout
  }

  /** Runs the real shim on the list's own configuration with `changes`, or on `changes` itself where it is text. */
  shim(
    environment: Record<string, string>,
    changes: object | string = {},
    started?: (child: ChildProcess) => void,
  ): Promise<ShimAnswer> {
    const { cniVersion, name, plugins } = JSON.parse(readFileSync(join(this.cniConfDir, '10-polder.conflist'), 'utf8'))
    const stdin =
      typeof changes === 'string' ? changes : JSON.stringify({ cniVersion, name, ...plugins[0], ...changes })
    const shim = join(this.cniBinDir, 'polder-cni')
    // The list names polderd's places; what is no configuration at all cannot.
    const places = { POLDER_SOCKET: this.socket, POLDER_SPOOL: join(this.stateDir, 'spool') }
    const usual = { CNI_PATH: this.cniBinDir, ...(typeof changes === 'string' && places) }
    return runShim(shim, { ...usual, ...environment }, stdin, started)
  }
}

export class TestCluster {
  readonly nodes: TestNode[]
  /** Holds the bridge between the nodes. */
  readonly underlay: Netns
  readonly folder: string

  private constructor(nodes: TestNode[], underlay: Netns, folder: string) {
    this.nodes = nodes
    this.underlay = underlay
    this.folder = folder
  }

  /** Nodes are named node1, node2, ...; no polderd runs yet. */
  static async create(count: number): Promise<TestCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'polder-t'))
    mkdirSync(join(folder, 'cluster'))
    const underlay = await Netns.create('wire')
    await underlay.run('ip', 'link', 'add', 'underlay', 'up', 'type', 'bridge')
    const nodes: TestNode[] = []
    for (let i = 1; i <= count; i++) {
      const netns = await Netns.create(`node${i}`)
      await underlay.run('ip', 'link', 'add', `to${i}`, 'type', 'veth', 'peer', 'name', 'underlay', 'netns', netns.name)
      await underlay.run('ip', 'link', 'set', `to${i}`, 'master', 'underlay', 'up')
      await netns.run('ip', 'address', 'add', `198.18.0.${i}/24`, 'dev', 'underlay')
      await netns.run('ip', 'link', 'set', 'underlay', 'up')
      nodes.push(new TestNode(`node${i}`, netns, `198.18.0.${i}`, folder))
    }
    return new TestCluster(nodes, underlay, folder)
  }

  async start(...flags: string[]): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start(...flags)))
    // Ready is each node's own affair; a packet needs both ends to know of each other.
    await until(() => this.nodes.every((node) => this.#knowsAllOthers(node)))
  }

  #knowsAllOthers(node: TestNode): boolean {
    const lists = [...node.log.matchAll(/"peers":(\[[^\]]*\])/g)].map(([, list]) => JSON.parse(list!) as string[])
    const known = lists.at(-1) ?? []
    return this.nodes.every(
      ({ underlayAddress }) => underlayAddress === node.underlayAddress || known.includes(underlayAddress),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.nodes.map((node) => node.stop()))
    for (const node of this.nodes) await node.netns[Symbol.asyncDispose]()
    for (const node of this.nodes) endKeeper(node.socket)
    await this.underlay[Symbol.asyncDispose]()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
