/**
 * containerd of a lab node: its configuration and its start. It is the distribution's own program on its default paths,
 * which the node's namespaces make private to the node.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { PolderError } from '../../daemon/errors.ts'
import { type Daemon, ensureDaemon } from './daemons.ts'
import { CHECKOUT, type LabNode } from './lab.ts'
import { run } from './processes.ts'

/** Made on this machine by scripts/images: a lab has no way to a registry. */
export const PAUSE_IMAGE = 'localhost/polder/pause:latest'

const CAP_SYS_RESOURCE = 24n
const CNI_PLUGIN_FOLDERS = ['/usr/lib/cni', '/opt/cni/bin']

export type Snapshotter = 'overlayfs' | 'native'

export function containerdOf(node: LabNode, init: number): Daemon {
  return {
    name: 'containerd',
    command: ['containerd'],
    commandLine: /(^|[/\0])containerd\0/,
    socket: `/proc/${init}/root/run/containerd/containerd.sock`,
    log: node.containerdLog,
    startTimeoutMs: 30_000,
  }
}

export async function ensureContainerd(node: LabNode, init: number): Promise<void> {
  installCniPlugins(node)
  const config = containerdConfig(await snapshotterOf(node), mayLowerOomScore())
  writeFileSync(`${node.dataDir}/etc-containerd/config.toml`, config)
  await ensureDaemon(node, init, containerdOf(node, init))
}

function containerdConfig(snapshotter: Snapshotter, lowerOomScore: boolean): string {
  return `version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = ${!lowerOomScore}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"
`
}

/** containerd wants the pause container to be killed last when memory runs out: that takes a capability some containers lack. */
function mayLowerOomScore(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n
}

/** An overlay cannot lie on another overlay, as inside most containers: tried, in a mount namespace that ends with the trial. */
export async function snapshotterOf(node: LabNode): Promise<Snapshotter> {
  const trial = mkdtempSync(`${node.dataDir}/overlay-`)
  for (const part of ['lower', 'upper', 'work', 'merged']) mkdirSync(`${trial}/${part}`)
  const options = `lowerdir=${trial}/lower,upperdir=${trial}/upper,workdir=${trial}/work`
  try {
    await run('unshare', ['-m', 'mount', '-t', 'overlay', '-o', options, 'overlay', `${trial}/merged`])
    return 'overlayfs'
  } catch {
    return 'native'
  } finally {
    rmSync(trial, { recursive: true })
  }
}

/** containerd calls `loopback` for every pod, polder-cni is the one plugin of the node's network. */
function installCniPlugins(node: LabNode): void {
  const bin = `${node.dataDir}/opt-cni/bin`
  mkdirSync(bin, { recursive: true })
  const loopback = CNI_PLUGIN_FOLDERS.map((folder) => `${folder}/loopback`).find((path) => existsSync(path))
  const polderCni = `${CHECKOUT}/build/polder-cni`
  if (loopback === undefined || !existsSync(polderCni)) {
    const missing = loopback === undefined ? 'CNI plugin `loopback`' : polderCni
    throw new PolderError('lab-incomplete', `There is no ${missing}.`, 'Run: sudo ./scripts/setup')
  }
  for (const plugin of [loopback, polderCni]) {
    const target = `${bin}/${plugin.slice(plugin.lastIndexOf('/') + 1)}`
    if (!existsSync(target)) copyFileSync(plugin, target)
  }
}
