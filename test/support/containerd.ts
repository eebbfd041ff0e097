/**
 * A real containerd for one test file: in mount, PID and network namespaces of its own with everything it writes in a
 * temporary folder, the images of scripts/images, and a bridge of the reference CNI plugins in place of polder-cni.
 * Its processes end with it, whatever the test did.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { connectContainerd } from '../../daemon/runner/cri/client.ts'

const ROOT = `${import.meta.dirname}/../..`
const IMAGES = `${ROOT}/build/images`
const run = promisify(execFile)

export interface TestContainerd {
  folder: string
  socket: string
  /** Runs a command inside its namespaces. */
  inside(command: string[]): string
  ctr(args: string[]): string
  stop(): Promise<void>
}

export async function startContainerd(): Promise<TestContainerd> {
  sweep()
  const folder = mkdtempSync(`${tmpdir()}/polder-t${process.pid}-containerd-`)
  const socket = `${folder}/containerd.sock`
  for (const name of ['root', 'state', 'cni', 'net.d', 'logs', 'exec']) mkdirSync(`${folder}/${name}`)
  const snapshotter = canOverlay(folder) ? 'overlayfs' : 'native'
  writeFileSync(`${folder}/config.toml`, configuration(folder, socket, snapshotter))
  writeFileSync(`${folder}/net.d/10-test.conflist`, JSON.stringify(network(folder)))
  await run(`${ROOT}/scripts/images`, [IMAGES])
  const child = start(folder)
  const init = await innerInit(child)
  await until(`${folder}/containerd.log`, async () => {
    const client = connectContainerd(socket)
    await client.call('runtime.Version', {}, { timeoutMs: 1000 }).finally(() => client.close())
  })
  const archive = `${IMAGES}/images.tar`
  await run('ctr', ['-a', socket, '-n', 'k8s.io', 'images', 'import', '--snapshotter', snapshotter, archive])
  return {
    folder,
    socket,
    inside: (command) =>
      execFileSync('nsenter', ['-t', init, '-m', '-n', '-p', '--', ...command], { encoding: 'utf8' }),
    ctr: (args) => execFileSync('ctr', ['-a', socket, '-n', 'k8s.io', ...args], { encoding: 'utf8' }),
    stop: async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      // What was killed may still be writing its last.
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    },
  }
}

/** What tests that were killed left behind. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^polder-t(\d+)-containerd-/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(`${tmpdir()}/${name}`, { recursive: true, force: true })
  }
}

function start(folder: string): ChildProcess {
  const log = openSync(`${folder}/containerd.log`, 'a')
  const script = `
    mount -t tmpfs tmpfs /run && mkdir -p /var/lib/cni && mount --bind ${folder}/cni /var/lib/cni && ip link set lo up
    exec catatonit -- containerd -c ${folder}/config.toml`
  // It ends with this process, however that ends.
  const withUs = ['--pdeathsig', 'KILL', 'unshare']
  const flags = ['--net', '--mount', '--pid', '--fork', '--mount-proc', '--propagation', 'private', '--kill-child']
  return spawn('setpriv', [...withUs, ...flags, 'bash', '-c', script], { stdio: ['ignore', log, log] })
}

/** The process that is PID 1 in there, as it is called out here. */
async function innerInit(child: ChildProcess): Promise<string> {
  const path = `/proc/${child.pid}/task/${child.pid}/children`
  return await until(path, async () => {
    const pid = readFileSync(path, 'utf8').trim()
    if (pid === '') throw new Error('no child yet')
    return pid
  })
}

function canOverlay(folder: string): boolean {
  const parts = ['lower', 'upper', 'work', 'merged'].map((name) => `${folder}/overlay/${name}`)
  for (const part of parts) mkdirSync(part, { recursive: true })
  const options = `lowerdir=${parts[0]},upperdir=${parts[1]},workdir=${parts[2]}`
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'overlay', '-o', options, 'overlay', parts[3]!], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function configuration(folder: string, socket: string, snapshotter: string): string {
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "${socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/polder/pause:latest"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${folder}/net.d"
`
}

function network(folder: string): object {
  const ranges = [[{ subnet: '10.244.9.0/24' }], [{ subnet: 'fd00:10:244:9::/64' }]]
  const ipam = { type: 'host-local', dataDir: `${folder}/addresses`, ranges }
  return { cniVersion: '1.0.0', name: 'test', plugins: [{ type: 'bridge', bridge: 'cni0', isGateway: true, ipam }] }
}

/** What `attempt` answers once it stops throwing; within 20 s. */
export async function until<T>(what: string, attempt: () => Promise<T>): Promise<T> {
  const deadlineMs = Date.now() + 20_000
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (Date.now() > deadlineMs) throw new Error(`${what}: ${(error as Error).message}`)
      await delay(50)
    }
  }
}
