/**
 * Folder stores for tests: opened on a temporary folder, in this process or in processes of their own
 * (store-process.ts), and what it takes to wait for them.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { FolderStore, type FolderStoreOptions } from '../../daemon/cluster/folder/folder-store.ts'
import type { Pod } from '../../daemon/cluster/objects.ts'

const RANGES = {
  podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
  serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  loadBalancerPools: [],
  nodeMaskSizeIPv4: 24,
  nodeMaskSizeIPv6: 64,
}
const WAIT_MS_MAX = 20_000

export interface StoreProcess {
  pid: number
  ranges: string[]
  bound: boolean
  end(signal: NodeJS.Signals): Promise<void>
}

export class ClusterFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'polder-cluster-'))
  readonly warnings: string[] = []
  readonly #stores: FolderStore[] = []
  readonly #ends: (() => Promise<void>)[] = []

  async open(options: Partial<FolderStoreOptions> = {}): Promise<FolderStore> {
    const warn = (details: object, message: string) => this.warnings.push(`${message} ${JSON.stringify(details)}`)
    const store = await FolderStore.open({ ...RANGES, folder: this.path, log: { warn, info: () => {} }, ...options })
    this.#stores.push(store)
    return store
  }

  /** Writes as `echo > file` does: in place. */
  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.path, path)), { recursive: true })
    writeFileSync(join(this.path, path), text)
  }

  /** Runs store-process.ts; resolves to what it answers. It lives on until end() or the test's end. */
  async run(...argv: string[]): Promise<StoreProcess> {
    const script = fileURLToPath(new URL('store-process.ts', import.meta.url))
    const child = spawn(process.execPath, [script, this.path, ...argv], { stdio: ['pipe', 'pipe', 'inherit'] })
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const lines = createInterface(child.stdout)
    const { value } = await lines[Symbol.asyncIterator]().next()
    const end = (signal: NodeJS.Signals) => {
      child.kill(signal)
      return exited
    }
    this.#ends.push(() => end('SIGKILL'))
    const answer = JSON.parse(value ?? '{"error": "no answer"}')
    if ('error' in answer) throw new Error(answer.error)
    return { pid: child.pid!, end, ...answer }
  }

  async remove(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end()))
    await Promise.all(this.#stores.map((store) => store.close()))
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Resolves to how long it took until `condition` held, in milliseconds. */
export async function until(condition: () => boolean, what = 'the condition', mostMs = WAIT_MS_MAX): Promise<number> {
  const start = performance.now()
  while (!condition()) {
    if (performance.now() - start > mostMs) throw new Error(`${what} did not come true in ${mostMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return performance.now() - start
}

export function podNamed(name: string, image = 'nginx', namespace = 'default'): Pod {
  const containers = [{ name: 'main', image }]
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec: { containers } }
}

export function podText(name: string, image = 'nginx'): string {
  return `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\nspec:\n  containers:\n    - name: main\n      image: ${image}\n`
}
