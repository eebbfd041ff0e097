/**
 * Pods between their deletion and their end, as files of their own (terminating-file.ts). Every function is called under
 * the folder's lock and answers with the paths that have to be read again.
 */
import { join } from 'node:path'
import { removeFile, replaceFile } from '../../files/atomic-file.ts'
import { deleted, hastened, isStarted } from '../deletion.ts'
import { nodeOf, type ObjectKey, type Pod, type PodStatus } from '../objects.ts'
import type { DeleteOptions } from '../store.ts'
import { keyOf, statusPath } from './layout.ts'
import type { Mirror } from './mirror.ts'
import { terminatingPath, terminatingText } from './terminating-file.ts'

export class PodEndings {
  readonly #folder: string
  readonly #mirror: Mirror

  constructor(folder: string, mirror: Mirror) {
    this.#folder = folder
    this.#mirror = mirror
  }

  /** Keeps what has to be ended of a pod whose own file goes now. A pod that nobody has begun needs no end. */
  async begin(pod: Pod | undefined, graceSeconds?: number): Promise<string[]> {
    if (pod === undefined || !isStarted(pod)) return []
    const known = this.#mirror.ending(terminatingPath(pod))
    // Of two pods with one uid, written by hand one after the other, the first is ended: the second had to wait for that.
    if (known !== undefined) return this.#write(hastened(known, graceSeconds))
    const marked = pod.metadata.deletionTimestamp === undefined ? deleted(pod, Date.now(), graceSeconds) : pod
    return this.#write(hastened(marked, graceSeconds))
  }

  /**
   * What comes of a pod whose file is about to go: its end begins. Where there is no file any more, those of this name that
   * end already may have to end sooner. By force, all of it is forgotten, whether or not it has ended.
   */
  async delete(key: ObjectKey, { graceSeconds, force }: DeleteOptions): Promise<string[]> {
    const ending = this.#mirror
      .endings()
      .filter(({ metadata }) => metadata.name === key.name && metadata.namespace === key.namespace)
    if (force === true) {
      await removeFile(join(this.#folder, statusPath(key)))
      return [...(await this.#removeAll(ending)), statusPath(key)]
    }
    if (this.#mirror.spec(key) !== undefined) {
      return this.begin(this.#mirror.get('Pod', key.name, key.namespace), graceSeconds)
    }
    const paths: string[] = []
    for (const pod of ending) paths.push(...(await this.#write(hastened(pod, graceSeconds))))
    return paths
  }

  /** Forgets those of nodes that will end nothing any more. */
  async forgetNodes(isGone: (nodeName: string) => boolean): Promise<string[]> {
    return this.#removeAll(this.#mirror.endings().filter((pod) => isGone(nodeOf(pod)!)))
  }

  /** Does nothing for a pod that has ended. */
  async putStatus(pod: Pod, status: PodStatus): Promise<string[]> {
    const known = this.#mirror.ending(terminatingPath(pod))
    return known === undefined ? [] : this.#write({ ...known, status })
  }

  async finish(pod: Pod): Promise<string[]> {
    const key = keyOf(pod)
    const paths = await this.#removeAll([pod])
    // Nobody came to make a file of its end.
    if (this.#mirror.removed(key)?.metadata.uid !== pod.metadata.uid) return paths
    await removeFile(join(this.#folder, statusPath(key)))
    return [...paths, statusPath(key)]
  }

  async #write(pod: Pod): Promise<string[]> {
    const path = terminatingPath(pod)
    if (this.#mirror.ending(path) !== pod) await replaceFile(join(this.#folder, path), terminatingText(pod))
    return [path]
  }

  async #removeAll(pods: Pod[]): Promise<string[]> {
    const paths = pods.map(terminatingPath)
    for (const path of paths) await removeFile(join(this.#folder, path))
    return paths
  }
}
