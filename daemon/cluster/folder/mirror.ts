/**
 * The folder's objects in memory. refresh() reads files again and answers with what is different now; between two calls
 * nothing changes. A file that cannot be used is a problem, and what it last said that could be used stays in force until
 * the file is mended or gone.
 *
 * A pod whose file was removed by hand stays, as one that is being deleted, while its status file says that it runs and
 * nobody has made a file of its end yet (pod-endings.ts): nobody ever sees it gone in between.
 *
 * Files written by hand need no uid: it is derived from kind, namespace and name, because that is all that every process
 * sees alike and that an editor's save keeps (many save into a new inode, with a new birth time). So a pod that is removed
 * and written again by hand has the uid it had; one that `polder apply` made has a random one of its own.
 */
import { createHash, hash } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { PolderError } from '../../errors.ts'
import { deleted, isStarted } from '../deletion.ts'
import type { ClusterObject, Kind, Namespace, ObjectKey, Pod } from '../objects.ts'
import { parseManifests } from '../schema.ts'
import { type ServiceStatus, withAllocation } from '../service-objects.ts'
import type { Change, Problem } from '../store.ts'
import { describeKey, keyOf, keyText, placeAt, specPath, statusPath } from './layout.ts'
import { type ObjectStatus, parseStatus, type StatusFile } from './status-file.ts'
import { readStoreFile, type StoreFile } from './store-file.ts'
import { parseTerminating, terminatingPath } from './terminating-file.ts'

export interface MirrorLog {
  warn(details: object, message: string): void
  info(details: object, message: string): void
}

/** What is known of one file: the last text that could be used, and what is wrong with the text of now. */
interface Known {
  signature: string
  /** Of text and birth time: where these are the same, so is all else. */
  digest?: string | undefined
  spec?: ClusterObject
  status?: StatusFile
  ending?: Pod
  problem?: string
}

export class Mirror {
  readonly #folder: string
  readonly #log: MirrorLog
  readonly #files = new Map<string, Known>()
  readonly #objects = new Map<string, ClusterObject>()
  /** Pods that are being deleted, by the path of their file. */
  readonly #endings = new Map<string, Pod>()

  constructor(folder: string, log: MirrorLog) {
    this.#folder = folder
    this.#log = log
    this.#objects.set(keyText(DEFAULT_NAMESPACE_KEY), DEFAULT_NAMESPACE)
  }

  get<K extends Kind>(kind: K, name: string, namespace?: string): Extract<ClusterObject, { kind: K }> | undefined {
    const key = namespace === undefined ? { kind, name } : { kind, name, namespace }
    const found = this.#objects.get(keyText(key)) ?? (kind === 'Pod' ? this.#endingOf(name, namespace) : undefined)
    return found as Extract<ClusterObject, { kind: K }> | undefined
  }

  list<K extends Kind>(kind: K, namespace?: string): Extract<ClusterObject, { kind: K }>[] {
    const found: [string, ClusterObject][] = []
    for (const [text, object] of this.#objects) {
      if (object.kind !== kind || (namespace !== undefined && object.metadata.namespace !== namespace)) continue
      found.push([text, object])
    }
    found.sort(([one], [other]) => (one < other ? -1 : 1))
    if (kind === 'Pod') {
      for (const [path, pod] of this.#endings) {
        if (namespace === undefined || pod.metadata.namespace === namespace) found.push([path, pod])
      }
    }
    return found.map(([, object]) => object as Extract<ClusterObject, { kind: K }>)
  }

  /** What a person owns of an object, without its status. */
  spec(key: ObjectKey): ClusterObject | undefined {
    return this.#files.get(specPath(key))?.spec
  }

  /** The status that belongs to the object as it is now, not to one that had its name before. */
  status(key: ObjectKey): ObjectStatus | undefined {
    const uid = this.spec(key)?.metadata.uid
    const file = this.#files.get(statusPath(key))?.status
    return file === undefined || (file.uid !== undefined && file.uid !== uid) ? undefined : file.status
  }

  /** What the status file says, of whatever object of this name it was written. */
  lastStatus(key: ObjectKey): ObjectStatus | undefined {
    return this.#files.get(statusPath(key))?.status?.status
  }

  /** The pod that ends, of the file at this path. */
  ending(path: string): Pod | undefined {
    return this.#endings.get(path)
  }

  endings(): Pod[] {
    return [...this.#endings.values()]
  }

  /** A pod that somebody removed by hand, while nobody has taken care of its end. */
  removed(key: ObjectKey): Pod | undefined {
    const object = this.spec(key) === undefined ? this.#objects.get(keyText(key)) : undefined
    return object?.kind === 'Pod' ? object : undefined
  }

  isBroken(path: string): boolean {
    return this.#files.get(path)?.problem !== undefined
  }

  /** Every file that is known, relative to the folder. */
  paths(): string[] {
    return [...this.#files.keys()]
  }

  problems(): Problem[] {
    const found: Problem[] = []
    for (const [path, { problem }] of this.#files) {
      if (problem !== undefined) found.push({ place: join(this.#folder, path), message: problem })
    }
    return found
  }

  /** Reads these files again; with `onlyChanged`, only where the file system says that they are different. */
  refresh(paths: Iterable<string>, onlyChanged = false): Change[] {
    const touched = new Map<string, ObjectKey>()
    const changes: Change[] = []
    for (const path of paths) {
      const place = placeAt(path)
      if (place === undefined) continue
      const known = this.#files.get(path)
      const file = readStoreFile(join(this.#folder, path), onlyChanged ? known?.signature : undefined)
      if (file === 'unchanged') continue
      if (file === undefined) this.#files.delete(path)
      else if (known?.digest !== undefined && known.digest === digestOf(file)) known.signature = file.signature
      else this.#note(path, this.#read(path, file, known))
      if ('key' in place) touched.set(keyText(place.key), place.key)
      else changes.push(...this.#settleEnding(path))
    }
    // After the endings: who ends is not to be gone in between.
    return [...changes, ...[...touched.values()].flatMap((key) => this.#settle(key))]
  }

  /** What is known of a file now that it was read. */
  #read(path: string, file: StoreFile, before: Known | undefined): Known {
    const place = placeAt(path)!
    if ('mistake' in place) return { signature: file.signature, problem: place.mistake }
    const known: Known = { ...before, signature: file.signature }
    known.digest = digestOf(file)
    delete known.problem
    try {
      const whole = join(this.#folder, path)
      if (file.text === undefined) throw new PolderError('bad-file', `${whole}: ${file.mistake}`, '')
      if (place.part === 'terminating') known.ending = parseTerminating(file.text, whole)
      else if (place.part === 'status') known.status = parseStatus(file.text, whole, place.key)
      else known.spec = this.#parseSpec(file.text, whole, place.key, file.bornAt)
    } catch (error) {
      if (!(error instanceof PolderError)) throw error
      known.problem = error.message
    }
    return known
  }

  #parseSpec(text: string, place: string, key: ObjectKey, bornAt: string): ClusterObject {
    const { objects, warnings } = parseManifests(text, place, key.namespace)
    const object = objects[0]
    if (object === undefined || objects.length > 1) {
      throw new PolderError('bad-file', `${place}: holds ${objects.length} objects; must hold exactly one`, '')
    }
    if (keyText(keyOf(object)) !== keyText(key)) {
      const message = `${place}: holds ${describeKey(keyOf(object))}; a file of this name must hold ${describeKey(key)}`
      throw new PolderError('bad-file', message, '')
    }
    for (const warning of warnings) this.#log.warn({ place }, warning)
    object.metadata.uid ??= uidOf(key)
    object.metadata.creationTimestamp ??= bornAt
    return object
  }

  #endingOf(name: string, namespace: string | undefined): Pod | undefined {
    for (const pod of this.#endings.values()) {
      if (pod.metadata.name === name && pod.metadata.namespace === namespace) return pod
    }
    return undefined
  }

  #note(path: string, now: Known): void {
    const before = this.#files.get(path)?.problem
    this.#files.set(path, now)
    const place = join(this.#folder, path)
    if (now.problem !== undefined && now.problem !== before) {
      this.#log.warn({ place, problem: now.problem }, 'a file of the cluster folder cannot be used and is ignored')
    }
    if (now.problem === undefined && before !== undefined) this.#log.info({ place }, 'the file is mended')
  }

  #settleEnding(path: string): Change[] {
    const previous = this.#endings.get(path)
    const current = this.#files.get(path)?.ending
    if (isDeepStrictEqual(previous, current)) return []
    if (current === undefined) this.#endings.delete(path)
    else this.#endings.set(path, current)
    return [changeOf(keyOf((current ?? previous)!), previous, current)]
  }

  /** Puts an object together from its files; answers with the change, if it is one. */
  #settle(key: ObjectKey): Change[] {
    const text = keyText(key)
    const previous = this.#objects.get(text)
    const current = this.#assemble(key)
    if (isDeepStrictEqual(previous, current)) return []
    if (current === undefined) this.#objects.delete(text)
    else this.#objects.set(text, current)
    return [changeOf(key, previous, current)]
  }

  #assemble(key: ObjectKey): ClusterObject | undefined {
    const spec = this.spec(key)
    if (spec === undefined && key.kind === 'Pod') return this.#assembleRemoved(key)
    if (spec === undefined) return keyText(key) === keyText(DEFAULT_NAMESPACE_KEY) ? DEFAULT_NAMESPACE : undefined
    if (spec.kind === 'Namespace') return { ...spec, status: { phase: 'Active' } }
    const status = this.status(key)
    if (status === undefined) return spec
    if (spec.kind === 'Service') return withAllocation(spec, status as ServiceStatus)
    return { ...spec, status } as ClusterObject
  }

  #assembleRemoved(key: ObjectKey): Pod | undefined {
    const last = this.#objects.get(keyText(key)) as Pod | undefined
    const file = this.#files.get(statusPath(key))?.status
    if (last === undefined || file === undefined || !isStarted(last)) return undefined
    if (file.uid !== undefined && file.uid !== last.metadata.uid) return undefined
    if (this.#endings.has(terminatingPath(last))) return undefined
    return last.metadata.deletionTimestamp === undefined ? deleted(last, Date.now()) : last
  }
}

function changeOf(key: ObjectKey, previous?: ClusterObject, current?: ClusterObject): Change {
  return { key, ...(previous === undefined ? {} : { previous }), ...(current === undefined ? {} : { current }) }
}

/** Much cheaper than reading the same YAML again, as after each write, and shorter than the text. */
function digestOf({ text, bornAt }: StoreFile): string | undefined {
  return text === undefined ? undefined : hash('sha256', `${bornAt} ${text}`, 'base64')
}

/** A UUID of version 8 (RFC 9562) made of what names the object. */
export function uidOf(key: ObjectKey): string {
  const hash = createHash('sha256')
    .update(`polder/${keyText(key)}`)
    .digest()
  hash[6] = (hash[6]! & 0x0f) | 0x80
  hash[8] = (hash[8]! & 0x3f) | 0x80
  return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

const DEFAULT_NAMESPACE_KEY: ObjectKey = { kind: 'Namespace', name: 'default' }

/** Exists also without a file. */
const DEFAULT_NAMESPACE: Namespace = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'default', uid: uidOf(DEFAULT_NAMESPACE_KEY) },
  status: { phase: 'Active' },
}
