/**
 * The nodes that this process is (one, in polderd): each holds the lock of its name while it lives, so that no second
 * polderd can be the same node, and so that nobody takes a living node's range away.
 */
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { PolderError } from '../../errors.ts'
import { removeFile } from '../../files/atomic-file.ts'
import type { Node } from '../objects.ts'
import { nodeLockPath } from './layout.ts'
import { holderOf, isHeld, takeLock } from './lock.ts'

export class OwnNodes {
  readonly #folder: string
  /** Descriptors of the locks: the lock is let go when its descriptor is closed. */
  readonly #locks = new Map<string, number>()
  readonly #objects = new Map<string, Node>()

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Takes the lock of the name. */
  take(name: string): void {
    if (this.#locks.has(name)) return
    const path = this.#lockPath(name)
    const lock = takeLock(path)
    if (lock === undefined) {
      throw new PolderError(
        'node-name-taken',
        `Another polderd, process ${holderOf(path)}, runs as node ${name} (it holds ${path}).`,
        'Stop it, or start this one with another --node-name.',
      )
    }
    this.#locks.set(name, lock)
  }

  release(name: string): void {
    const lock = this.#locks.get(name)
    if (lock !== undefined) closeSync(lock)
    this.#locks.delete(name)
    this.#objects.delete(name)
  }

  /** The object to put back if somebody removes it. */
  remember(node: Node): void {
    this.#objects.set(node.metadata.name, node)
  }

  object(name: string): Node | undefined {
    return this.#objects.get(name)
  }

  /** Whether a process lives, this one or another, that is the node. Only under the folder's lock. */
  isAlive(name: string): boolean {
    return this.#locks.has(name) || isHeld(this.#lockPath(name))
  }

  requireStopped(name: string): void {
    if (!this.isAlive(name)) return
    throw new PolderError(
      'node-alive',
      `Node ${name} cannot be deleted: its polderd, process ${holderOf(this.#lockPath(name))}, is running.`,
      'Stop that polderd first.',
    )
  }

  /** Removes what a dead node leaves of its lock. Only under the folder's lock. */
  async forget(name: string): Promise<void> {
    await removeFile(this.#lockPath(name))
  }

  close(): void {
    for (const name of [...this.#locks.keys()]) this.release(name)
  }

  #lockPath(name: string): string {
    return join(this.#folder, nodeLockPath(name))
  }
}
