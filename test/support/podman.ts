/**
 * podman with everything it writes in a temporary folder, its CNI back end pointed at a node's configuration, and a
 * busybox image from the archive of scripts/images. It runs in the node's network namespace and, so that polderd sees
 * the namespaces it mounts, in the machine's own mount namespace.
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { TestNode } from './cluster.ts'

const ROOT = join(import.meta.dirname, '../..')
const IMAGES = join(ROOT, 'build/images')
const run = promisify(execFile)

interface Descriptor {
  digest: string
  annotations?: Record<string, string>
}

export class Podman {
  readonly #node: TestNode
  readonly #folder = mkdtempSync(join(tmpdir(), 'polder-t'))

  private constructor(node: TestNode) {
    this.#node = node
  }

  /** Resolves once `localhost/busybox` is there. */
  static async start(node: TestNode): Promise<Podman> {
    const podman = new Podman(node)
    for (const name of ['root', 'runroot', 'tmpdir', 'image']) mkdirSync(join(podman.#folder, name))
    writeFileSync(join(podman.#folder, 'containers.conf'), configuration(node))
    await run(join(ROOT, 'scripts/images'), [IMAGES])
    await podman.run('import', podman.#busyboxLayer(), 'localhost/busybox:latest')
    return podman
  }

  /** Resolves to what it prints; what it says besides is in the error where it fails. */
  async run(...args: string[]): Promise<string> {
    const places = ['root', 'runroot', 'tmpdir'].map((name) => `--${name}=${join(this.#folder, name)}`)
    const options = [...places, '--storage-driver=vfs', '--runtime=runc', '--log-level=error']
    const command = ['nsenter', `--net=${this.#node.netns.path}`, '--', 'podman', ...options, ...args]
    const env = { ...process.env, CONTAINERS_CONF: join(this.#folder, 'containers.conf') }
    return (await run(command[0]!, command.slice(1), { env })).stdout.trim()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run('rm', '--all', '--force', '--time=0')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** The one layer of the image, a plain tar. */
  #busyboxLayer(): string {
    const folder = join(this.#folder, 'image')
    execFileSync('tar', ['-xf', join(IMAGES, 'images.tar'), '-C', folder])
    const blob = ({ digest }: Descriptor) => join(folder, 'blobs', digest.replace(':', '/'))
    const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Descriptor[] }
    const image = manifests.find(({ annotations }) => annotations?.['io.containerd.image.name']?.includes('/busybox:'))!
    const { layers } = JSON.parse(readFileSync(blob(image), 'utf8')) as { layers: [Descriptor] }
    return blob(layers[0])
  }
}

/** Limits as low as any machine allows: raising them takes rights that some containers lack. */
function configuration({ cniConfDir, cniBinDir }: TestNode): string {
  return `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["${cniBinDir}", "/usr/lib/cni"]
network_config_dir = "${cniConfDir}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
`
}
