/**
 * A disk of a few hundred KiB that can be filled, emptied and made read-only: a tmpfs in a mount namespace of its own.
 * Everybody reaches it through /proc/HOLDER/root, where HOLDER is the process that keeps the namespace; it ends with the
 * test process, however that ends, and takes the disk along.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const FILLER = 'filler'
const INODES = 200

export class SmallDisk {
  readonly path: string
  readonly #holder: ChildProcess
  readonly #mountPoint: string

  private constructor(holder: ChildProcess, mountPoint: string) {
    this.#holder = holder
    this.#mountPoint = mountPoint
    this.path = `/proc/${holder.pid}/root${mountPoint}`
  }

  static async create(): Promise<SmallDisk> {
    const mountPoint = mkdtempSync(join(tmpdir(), 'polder-disk-'))
    const script = `mount -t tmpfs -o size=256k,nr_inodes=${INODES} none ${mountPoint} && echo ready && exec cat`
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
    const [ready] = await once(holder.stdout!, 'data')
    if (String(ready) !== 'ready\n') throw new Error('there is no small disk')
    return new SmallDisk(holder, mountPoint)
  }

  /** Until not a byte more fits. */
  fill(): void {
    for (let count = 0, size = 65_536; size > 0; count++) {
      try {
        writeFileSync(join(this.path, `${FILLER}${count}`), Buffer.alloc(size))
      } catch {
        size = size > 4096 ? size / 2 : 0
      }
    }
  }

  /** Until there can be no new file, not even an empty one. */
  fillNames(): void {
    for (let count = 0; ; count++) {
      try {
        writeFileSync(join(this.path, `${FILLER}-name${count}`), '')
      } catch {
        return
      }
    }
  }

  makeRoom(): void {
    for (const name of readdirSync(this.path)) if (name.startsWith(FILLER)) rmSync(join(this.path, name))
  }

  /** While nobody has a file open for writing. */
  setReadOnly(readOnly: boolean): void {
    const remount = ['mount', '-o', `remount,${readOnly ? 'ro' : 'rw'}`, this.#mountPoint]
    execFileSync('nsenter', [`--mount=/proc/${this.#holder.pid}/ns/mnt`, ...remount])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.stdin!.end()
    await once(this.#holder, 'exit')
    rmdirSync(this.#mountPoint)
  }
}
