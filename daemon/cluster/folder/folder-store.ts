/**
 * Cluster state as a folder of YAML files (layout.ts), shared by the polderds of one machine and by people with editors.
 * The mirror answers reads, the watch says when to look again. Every write is made under the folder's lock, on what is on
 * disk at that moment, and is read back into the mirror before it resolves. Objects that are handed out are the mirror's
 * own: read them only.
 */
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { stringify } from 'yaml'
import { PolderError } from '../../errors.ts'
import { createFile, makeFolder, removeAbandoned, removeFile, replaceFile } from '../../files/atomic-file.ts'
import type { Leases } from '../leases.ts'
import {
  addressesOf,
  type ClusterObject,
  type Kind,
  type Node,
  type NodeStatus,
  type ObjectKey,
  type Pod,
  type PodStatus,
} from '../objects.ts'
import { checkObject } from '../schema.ts'
import { refusalOf, type Service, type ServiceStatus } from '../service-objects.ts'
import type { Change, ClusterStore, DeleteOptions, Problem, PutResult } from '../store.ts'
import { RangeClaims } from './claims.ts'
import { contradictions } from './contradictions.ts'
import {
  checkKey,
  FIXED_FOLDERS,
  keyOf,
  LEASES_FOLDER,
  NAMESPACED_FOLDERS,
  placeAt,
  specPath,
  statusPath,
} from './layout.ts'
import { FolderLeases } from './leases.ts'
import { withLock } from './lock.ts'
import { Mirror, type MirrorLog } from './mirror.ts'
import { requireNamespaceEmpty } from './namespace-contents.ts'
import { OwnNodes } from './own-nodes.ts'
import { PodEndings } from './pod-endings.ts'
import { type RangeOptions, RangePlan } from './range-plan.ts'
import { ServiceClaims } from './service-claims.ts'
import { type ObjectStatus, type StatusFile, statusText } from './status-file.ts'
import { filesIn } from './store-file.ts'
import { terminatingPath } from './terminating-file.ts'
import { FolderWatch } from './watch.ts'

const LOCK = '.lock'
/** How long this thread is had at a time for what happened in the folder, and after how many files that is looked at. */
const SLICE_MS = 5
const FILES_AT_ONCE = 8
/** How often what killed writers left behind is looked for. */
const SWEEP_INTERVAL_MS = 60_000

export interface FolderStoreOptions extends RangeOptions {
  folder: string
  serviceCIDRs: string[]
  loadBalancerPools: string[]
  log: MirrorLog
}

export class FolderStore implements ClusterStore {
  readonly #folder: string
  readonly #log: MirrorLog
  readonly #mirror: Mirror
  readonly #claims: RangeClaims
  readonly #serviceClaims: ServiceClaims
  readonly #endings: PodEndings
  readonly #watch: FolderWatch
  readonly #listeners = new Set<(changes: Change[]) => void>()
  readonly #own: OwnNodes
  readonly #unwatched = new Map<string, Problem>()
  readonly #writes = new Set<Promise<unknown>>()
  /** Files to be looked at when it is their turn: those to be read, and those to be read if they are different. */
  readonly #toRead = new Set<string>()
  readonly #toCheck = new Set<string>()
  #nextTurn: NodeJS.Immediate | undefined
  /** What is there at first is read at once. */
  #sliceMs = Number.POSITIVE_INFINITY
  #sweptAtMs = performance.now()
  #closed = false

  static async open(options: FolderStoreOptions): Promise<FolderStore> {
    for (const fixed of FIXED_FOLDERS) await makeFolder(join(options.folder, fixed))
    const store = new FolderStore(options)
    try {
      await store.#write(() => store.#clean())
    } catch (error) {
      if (!(error instanceof PolderError) || error.code !== 'not-written') throw error
      // What is there can be read; a pod's network must not wait for room on a disk.
      options.log.warn({ err: error }, 'what removed objects left behind stays in the cluster folder')
    }
    return store
  }

  /** Use FolderStore.open(): the folders must be there. */
  private constructor(options: FolderStoreOptions) {
    this.#folder = options.folder
    this.#log = options.log
    this.#mirror = new Mirror(options.folder, options.log)
    this.#claims = new RangeClaims(options.folder, new RangePlan(options))
    this.#serviceClaims = new ServiceClaims(options.folder, options, () =>
      this.#mirror.list('Node').flatMap(addressesOf),
    )
    this.#endings = new PodEndings(options.folder, this.#mirror)
    this.#own = new OwnNodes(options.folder)
    this.#watch = new FolderWatch(options.folder, {
      onEvents: (paths) => this.#refreshInTurns(paths, false),
      onRescan: (paths) => {
        this.#refreshInTurns(paths, true)
        this.#refreshInTurns(this.#mirror.paths(), true)
        this.#sweepNowAndThen()
      },
      onTrouble: (directory, error) => this.#noteUnwatched(directory, error),
      onWatched: (directory) => this.#unwatched.delete(join(this.#folder, directory)),
    })
    this.#watch.rescan()
    this.#sliceMs = SLICE_MS
  }

  get<K extends Kind>(kind: K, name: string, namespace?: string): Extract<ClusterObject, { kind: K }> | undefined {
    return this.#mirror.get(kind, name, namespace)
  }

  list<K extends Kind>(kind: K, namespace?: string): Extract<ClusterObject, { kind: K }>[] {
    return this.#mirror.list(kind, namespace)
  }

  onChange(listener: (changes: Change[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  problems(): Problem[] {
    return [
      ...this.#mirror.problems(),
      ...this.#unwatched.values(),
      ...this.#claims.problems(),
      ...contradictions(this.#mirror, this.#folder),
    ]
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    clearImmediate(this.#nextTurn)
    this.#listeners.clear()
    await Promise.allSettled(this.#writes)
    this.#own.close()
  }

  async put(object: ClusterObject): Promise<PutResult> {
    const wanted = checkObject(object)
    const key = keyOf(wanted)
    checkKey(key)
    return this.#write(async () => {
      this.#lookAgain(key)
      if (key.namespace !== undefined) this.#requireNamespace(key.namespace, wanted)
      const current = this.#mirror.spec(key)
      if (wanted.kind === 'Node') this.#checkRanges(wanted, current as Node | undefined)
      wanted.metadata.uid = current?.metadata.uid ?? wanted.metadata.uid ?? randomUUID()
      wanted.metadata.creationTimestamp =
        current?.metadata.creationTimestamp ?? wanted.metadata.creationTimestamp ?? timestamp()
      if (isDeepStrictEqual(current, wanted) && !this.#mirror.isBroken(specPath(key))) return 'unchanged'
      await this.#writeSpec(wanted)
      if (wanted.kind === 'Service') await this.#settle(key)
      return current === undefined ? 'created' : 'configured'
    })
  }

  async delete(key: ObjectKey, options: DeleteOptions = {}): Promise<boolean> {
    checkKey(key)
    return this.#write(async () => {
      this.#lookAgain(key)
      if (key.kind === 'Namespace') requireNamespaceEmpty(this.#folder, key.name)
      if (key.kind === 'Node') this.#own.requireStopped(key.name)
      const ends = key.kind === 'Pod' ? await this.#endings.delete(key, options) : []
      const existed = await removeFile(join(this.#folder, specPath(key)))
      this.#refresh([...ends, specPath(key)])
      await this.#tidy(key)
      this.#lookAgain(key)
      return existed || ends.length > 0
    })
  }

  async endPod(pod: Pod): Promise<void> {
    const key = keyOf(pod)
    await this.#write(async () => {
      this.#lookAgain(key)
      this.#refresh(await this.#endings.finish(pod))
    })
  }

  /** Does nothing for a pod that is gone, or that is another node's by now: such news is late and of no use. */
  async putPodStatus(pod: Pod, status: PodStatus): Promise<void> {
    const key = keyOf(pod)
    await this.#write(async () => {
      this.#lookAgain(key)
      if (pod.metadata.deletionTimestamp !== undefined) {
        return this.#refresh(await this.#endings.putStatus(pod, status))
      }
      const current = this.#mirror.spec(key) as Pod | undefined
      if (current === undefined || !isSame(current, pod)) return
      const nodeName = current.spec.nodeName ?? this.#boundTo(key)
      if (status.nodeName !== undefined && status.nodeName !== nodeName) return
      await this.#writeStatus(key, nodeName === undefined ? status : { ...status, nodeName })
    })
  }

  /** Does nothing for a node that is gone. */
  async putNodeStatus(name: string, status: NodeStatus): Promise<void> {
    const key: ObjectKey = { kind: 'Node', name }
    await this.#write(async () => {
      this.#lookAgain(key)
      if (this.#mirror.spec(key) !== undefined) await this.#writeStatus(key, status)
    })
  }

  isSettled(service: Service): boolean {
    return this.#serviceClaims.isSettled(service)
  }

  async settleService(service: Service): Promise<void> {
    const key = keyOf(service)
    await this.#write(async () => {
      this.#lookAgain(key)
      await this.#settle(key)
    })
  }

  leasesOf(node: string): Leases {
    return new FolderLeases(this.#folder, node)
  }

  async bind(pod: Pod, nodeName: string): Promise<boolean> {
    const key = keyOf(pod)
    return this.#write(async () => {
      this.#lookAgain(key)
      const current = this.#mirror.spec(key) as Pod | undefined
      if (current === undefined || !isSame(current, pod)) return false
      const boundTo = current.spec.nodeName ?? this.#boundTo(key)
      if (boundTo !== undefined) return boundTo === nodeName
      const path = join(this.#folder, statusPath(key))
      const status = { phase: 'Pending' as const, ...this.#mirror.status(key), nodeName }
      const text = statusText(key, { ...uidPart(current), status })
      // What is there says nothing of a node, or is about an earlier pod of this name.
      if (existsSync(path)) await replaceFile(path, text)
      else if (!(await createFile(path, text))) return false
      this.#lookAgain(key)
      return true
    })
  }

  async claimNode(name: string): Promise<Node> {
    const key: ObjectKey = { kind: 'Node', name }
    checkKey(key)
    return this.#write(async () => {
      this.#own.take(name)
      try {
        this.#lookAgainAtNodes()
        const current = this.#mirror.spec(key) as Node | undefined
        if (current === undefined) this.#requireUsable(specPath(key))
        const podCIDRs = await this.#claims.claim(name, current?.spec.podCIDRs ?? [], this.#mirror.list('Node'))
        const { metadata } = current ?? { metadata: { name, uid: randomUUID(), creationTimestamp: timestamp() } }
        const node: Node = { apiVersion: 'v1', kind: 'Node', metadata, spec: { podCIDRs } }
        if (current === undefined || current.spec.podCIDRs.length === 0) await this.#writeSpec(node)
        this.#own.remember(node)
        return this.#mirror.get('Node', name)!
      } catch (error) {
        this.#own.release(name)
        throw error
      }
    })
  }

  /** Another process of this machine becomes the node; claimNode() makes it this one's again. */
  releaseNode(name: string): void {
    this.#own.release(name)
  }

  /** One write at a time on this machine, each on what is on disk then. */
  #write<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#closed) throw new PolderError('store-closed', 'The cluster store is closed.', 'Start polderd again.')
    const write = withLock(join(this.#folder, LOCK), work)
    this.#writes.add(write)
    const done = () => this.#writes.delete(write)
    write.then(done, done)
    return write
  }

  /** As #refresh, and where there are many it lets others have the thread in between. */
  #refreshInTurns(paths: Iterable<string>, onlyChanged: boolean): void {
    for (const path of paths) (onlyChanged ? this.#toCheck : this.#toRead).add(path)
    if (this.#nextTurn === undefined) this.#takeTurn()
  }

  #takeTurn(): void {
    this.#nextTurn = undefined
    const end = performance.now() + this.#sliceMs
    const changes: Change[] = []
    do {
      const paths = this.#toRead.size > 0 ? this.#toRead : this.#toCheck
      const some: string[] = []
      for (const path of paths) {
        some.push(path)
        paths.delete(path)
        if (some.length === FILES_AT_ONCE) break
      }
      changes.push(...this.#mirror.refresh(some, paths === this.#toCheck))
    } while (this.#toRead.size + this.#toCheck.size > 0 && performance.now() < end)
    if (this.#toRead.size + this.#toCheck.size > 0) this.#nextTurn = setImmediate(() => this.#takeTurn())
    this.#tell(changes)
  }

  /** Reads files again and tells the listeners what is different. */
  #refresh(paths: Iterable<string>): void {
    this.#tell(this.#mirror.refresh(paths))
  }

  #tell(changes: Change[]): void {
    if (changes.length === 0) return
    for (const listener of this.#listeners) {
      try {
        listener(changes)
      } catch (error) {
        this.#log.warn({ err: error }, 'a listener to the cluster state failed')
      }
    }
    for (const { key, current } of changes) {
      if (current === undefined || this.#mirror.removed(key) === current) this.#tidyLater(key)
    }
  }

  /** Before a write: what it builds on must be what is on disk now. */
  #lookAgain(key: ObjectKey): void {
    const pod = key.kind === 'Pod' ? this.#mirror.get('Pod', key.name, key.namespace) : undefined
    this.#refresh([...(pod === undefined ? [] : [terminatingPath(pod)]), specPath(key), statusPath(key)])
  }

  #lookAgainAtNodes(): void {
    const known = this.#mirror.paths().filter((path) => path.startsWith('nodes/'))
    this.#refresh(new Set([...known, ...filesIn(this.#folder, 'nodes')]))
  }

  async #writeSpec(object: ClusterObject): Promise<void> {
    const path = specPath(keyOf(object))
    await makeFolder(join(this.#folder, dirname(path)))
    await replaceFile(join(this.#folder, path), stringify(object, { lineWidth: 0 }))
    this.#refresh([path])
  }

  /** Gives a Service what it asks for. Under the lock. */
  async #settle(key: ObjectKey): Promise<void> {
    const service = this.#mirror.get('Service', key.name, key.namespace)
    const spec = this.#mirror.spec(key) as Service | undefined
    if (service === undefined || spec === undefined) return
    const status = this.#mirror.status(key) as ServiceStatus | undefined
    if (status !== undefined && this.isSettled({ ...spec, status })) return
    const settled = await this.#serviceClaims.settle(spec, this.#mirror.lastStatus(key) as ServiceStatus | undefined)
    const refused = refusalOf({ ...spec, status: settled })
    if (refused !== undefined && refused !== refusalOf(service)) {
      this.#log.warn({ service: `${key.namespace}/${key.name}` }, refused)
    }
    await this.#writeStatus(key, settled)
  }

  async #writeStatus(key: ObjectKey, status: ObjectStatus): Promise<void> {
    const path = statusPath(key)
    const isSame = isDeepStrictEqual(this.#mirror.status(key), status) && !this.#mirror.isBroken(path)
    if (isSame) return
    const text = statusText(key, { ...uidPart(this.#mirror.spec(key)!), status })
    await replaceFile(join(this.#folder, path), text)
    this.#refresh([path])
  }

  #boundTo(key: ObjectKey): string | undefined {
    return (this.#mirror.status(key) as PodStatus | undefined)?.nodeName
  }

  #requireNamespace(namespace: string, object: ClusterObject): void {
    this.#lookAgain({ kind: 'Namespace', name: namespace })
    if (this.#mirror.get('Namespace', namespace) !== undefined) return
    throw new PolderError(
      'namespace-not-found',
      `Namespace ${namespace} of ${object.kind} ${object.metadata.name} does not exist.`,
      `Create it first: \`polder apply -f\` a manifest with kind: Namespace and metadata.name: ${namespace}.`,
    )
  }

  /** Ranges that a person leaves out stay as they are; those that a person chooses must be free. */
  #checkRanges(wanted: Node, current: Node | undefined): void {
    if (wanted.spec.podCIDRs.length === 0) wanted.spec.podCIDRs = current?.spec.podCIDRs ?? []
    this.#lookAgainAtNodes()
    this.#claims.checkFree(wanted.metadata.name, wanted.spec.podCIDRs, this.#mirror.list('Node'))
  }

  #requireUsable(path: string): void {
    const place = join(this.#folder, path)
    const problem = this.#mirror.problems().find((one) => one.place === place)
    if (problem === undefined) return
    throw new PolderError('bad-file', problem.message, `Mend or remove ${place}.`)
  }

  /** Somebody removed an object's file by hand, or another process did and may have died over it. */
  #tidyLater(key: ObjectKey): void {
    if (this.#closed) return
    this.#write(() => this.#tidy(key)).catch((error) => {
      this.#log.warn({ err: error, key }, 'what a removed object left behind stays in the cluster folder')
    })
  }

  /** Removes what is left of an object without a file of its own; whoever comes first does it. Under the lock. */
  async #tidy(key: ObjectKey): Promise<void> {
    if (existsSync(join(this.#folder, specPath(key)))) return
    const own = key.kind === 'Node' ? this.#own.object(key.name) : undefined
    if (own !== undefined) {
      this.#log.warn({ node: key.name }, 'the Node object of this running polderd was removed: it is put back')
      return this.#writeSpec(own)
    }
    // A living polderd elsewhere puts its node back itself.
    if (key.kind === 'Node' && this.#own.isAlive(key.name)) return
    if (key.kind === 'Service') {
      await this.#serviceClaims.free(key, this.#mirror.lastStatus(key) as ServiceStatus | undefined)
    }
    if (key.kind === 'Pod') {
      this.#lookAgain(key)
      this.#refresh(await this.#endings.begin(this.#mirror.removed(key)))
    }
    await removeFile(join(this.#folder, statusPath(key)))
    this.#refresh([statusPath(key)])
    if (key.kind === 'Namespace') {
      for (const folder of NAMESPACED_FOLDERS) await rmdir(join(this.#folder, folder, key.name)).catch(() => {})
    }
    if (key.kind !== 'Node') return
    await this.#claims.free((holder) => holder === key.name)
    await removeFile(join(this.#folder, LEASES_FOLDER, `${key.name}.yaml`))
    this.#refresh(await this.#endings.forgetNodes((name) => name === key.name))
    await this.#own.forget(key.name)
  }

  /** What was left behind while no polderd ran. Under the lock. */
  async #clean(): Promise<void> {
    const isGone = (name: string) =>
      !existsSync(join(this.#folder, specPath({ kind: 'Node', name }))) && !this.#own.isAlive(name)
    await this.#claims.free(isGone)
    this.#refresh(await this.#endings.forgetNodes(isGone))
    for (const place of await this.#claims.freeEmpty()) {
      this.#log.warn({ place }, 'an empty pod range claim was removed: the power went while it was made')
    }
    for (const path of this.#mirror.paths()) {
      const place = placeAt(path)
      if (place !== undefined && 'key' in place && place.part === 'status') await this.#tidy(place.key)
    }
    await this.#serviceClaims.clean((key) => this.#mirror.lastStatus(key) as ServiceStatus | undefined)
    await this.#sweep()
  }

  /** Under the lock, so that no writer of this machine is disturbed even where the clock jumped. */
  async #sweep(): Promise<void> {
    const namespaces = NAMESPACED_FOLDERS.flatMap((folder) => filesIn(this.#folder, folder))
    for (const directory of [...FIXED_FOLDERS, ...namespaces]) await removeAbandoned(join(this.#folder, directory))
  }

  #sweepNowAndThen(): void {
    if (this.#closed || performance.now() - this.#sweptAtMs < SWEEP_INTERVAL_MS) return
    this.#sweptAtMs = performance.now()
    this.#write(() => this.#sweep()).catch((error) => {
      this.#log.warn({ err: error }, 'temporary files in the cluster folder cannot be cleared away for now')
    })
  }

  #noteUnwatched(directory: string, error: Error): void {
    const place = join(this.#folder, directory)
    const message = `edits by hand take up to 5 seconds to be seen: ${error.message} (see fs.inotify.max_user_watches)`
    if (!this.#unwatched.has(place)) this.#log.warn({ place }, message)
    this.#unwatched.set(place, { place, message })
  }
}

/** Of the same name and, where both have one, the same uid. */
function isSame(current: Pod, pod: Pod): boolean {
  return pod.metadata.uid === undefined || pod.metadata.uid === current.metadata.uid
}

function uidPart(object: ClusterObject): Pick<StatusFile, 'uid'> {
  return object.metadata.uid === undefined ? {} : { uid: object.metadata.uid }
}

function timestamp(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, 'Z')
}
