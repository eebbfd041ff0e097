/**
 * Makes this node run the pods that are bound to it, and no others. Level-triggered: what the store wants is compared
 * with what the runtimes hold, once a second and at every change in the store; a pod is looked at again only when its
 * object or what a runtime holds of it changed, or while it is not settled.
 *
 * One pod at a time is worked on once, different pods beside each other; what goes wrong with one lands in its status
 * and in the log. Stopping polderd stops this loop and leaves every pod running.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import { nodeOf, type Pod, type PodStatus } from '../cluster/objects.ts'
import type { ClusterStore } from '../cluster/store.ts'
import { PolderError } from '../errors.ts'
import { NETNS_RUNTIME_CLASS } from './netns-runtime.ts'
import type { HeldPod, PodRuntime } from './pod-runtime.ts'

const POLL_MS = 1000
/** Pods brought up at the same time; stopping pods mostly wait for their processes and have a bound of their own. */
const STARTS_MAX = 8
const REMOVALS_MAX = 64
/** Pods that end at the same time: they mostly wait, and one that has to wait for its turn loses of its grace period. */
const ENDS_MAX = 1024
/** A stop waits this long for what is under way; the next polderd takes up what is left. */
const STOP_PATIENCE_MS = 5000

export interface ReconcilerOptions {
  store: ClusterStore
  nodeName: string
  containers: PodRuntime
  namespaces: PodRuntime
  log: Logger
}

/** What was known of a pod when it was last looked at. */
interface Look {
  pod: Pod
  fingerprint: string
  settled: boolean
  atMs: number
}

export class Reconciler {
  readonly #store: ClusterStore
  readonly #nodeName: string
  readonly #containers: PodRuntime
  readonly #namespaces: PodRuntime
  readonly #log: Logger
  readonly #looks = new Map<string, Look>()
  readonly #busy = new Set<string>()
  /** Busy pods that were to be looked at meanwhile. */
  readonly #missed = new Set<string>()
  readonly #starts = new Limit(STARTS_MAX)
  readonly #removals = new Limit(REMOVALS_MAX)
  readonly #ends = new Limit(ENDS_MAX)
  /** Pods that end now, with the deadline that their runtime was told. */
  readonly #ending = new Map<string, { deadline: string | undefined }>()
  /** Pods that this polderd has seen bound here: their absence from the store is sure to mean that they were deleted. */
  readonly #seen = new Set<string>()
  /** Each runtime's last trouble, so that one lasting failure is one line. */
  readonly #troubles = new Map<PodRuntime, string>()
  #unsubscribe: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #pass: Promise<void> | undefined
  #again = false

  constructor({ store, nodeName, containers, namespaces, log }: ReconcilerOptions) {
    this.#store = store
    this.#nodeName = nodeName
    this.#containers = containers
    this.#namespaces = namespaces
    this.#log = log
  }

  /** What runs this pod. */
  runtimeOf(pod: Pod): PodRuntime {
    return pod.spec.runtimeClassName === NETNS_RUNTIME_CLASS ? this.#namespaces : this.#containers
  }

  start(): void {
    this.#unsubscribe = this.#store.onChange((changes) => {
      if (changes.some(({ key }) => key.kind === 'Pod')) this.#trigger()
    })
    this.#timer = setInterval(() => this.#trigger(), POLL_MS)
    this.#trigger()
  }

  /** A runtime knows something new. */
  look(): void {
    this.#trigger()
  }

  /** Begins nothing any more and resolves when what was under way is done, but for removals, which may take long. */
  async stop(): Promise<void> {
    this.#unsubscribe?.()
    clearInterval(this.#timer)
    this.#timer = undefined
    await Promise.race([this.#starts.idle(), delay(STOP_PATIENCE_MS, undefined, { ref: false })])
  }

  get #stopped(): boolean {
    return this.#timer === undefined
  }

  #trigger(): void {
    if (this.#stopped) return
    this.#again = true
    this.#pass ??= this.#passes().finally(() => {
      this.#pass = undefined
    })
  }

  async #passes(): Promise<void> {
    while (this.#again) {
      this.#again = false
      await Promise.all([this.#compare(this.#containers), this.#compare(this.#namespaces)])
    }
  }

  /** One pass over everything of one runtime. */
  async #compare(runtime: PodRuntime): Promise<void> {
    const wanted = new Map<string, Pod>()
    const ending = new Set<string>()
    const held = await this.#held(runtime)
    for (const pod of this.#store.list('Pod')) {
      if (nodeOf(pod) !== this.#nodeName || this.runtimeOf(pod) !== runtime) continue
      const key = keyOf(pod.metadata)
      this.#seen.add(key)
      if (pod.metadata.deletionTimestamp === undefined) wanted.set(key, pod)
      else {
        ending.add(key)
        this.#end(key, pod, runtime)
      }
    }
    for (const [key, pod] of wanted) {
      // Without an answer of the runtime a settled pod stays as it was last seen; the others learn why they wait.
      const fingerprint = held === undefined ? this.#looks.get(key)?.fingerprint : held.get(key)?.fingerprint
      // One pod of a name after the other.
      if (!ending.has(key)) this.#look(key, pod, runtime, fingerprint ?? '')
    }
    if (held === undefined) return
    for (const [key, pod] of held) if (!wanted.has(key) && !ending.has(key)) this.#remove(key, pod, runtime)
  }

  /** Undefined where the runtime does not answer: then nothing is known to be held or not. */
  async #held(runtime: PodRuntime): Promise<Map<string, HeldPod> | undefined> {
    try {
      const pods = await runtime.list()
      this.#troubles.delete(runtime)
      return new Map(pods.map((pod) => [keyOf(pod), pod]))
    } catch (error) {
      const { message } = error as Error
      if (this.#troubles.get(runtime) !== message)
        this.#log.warn({ err: error }, 'the pods of this node cannot be seen')
      this.#troubles.set(runtime, message)
      return undefined
    }
  }

  #look(key: string, pod: Pod, runtime: PodRuntime, fingerprint: string): void {
    const last = this.#looks.get(key)
    if (this.#isBusy(key)) return
    const isUnchanged = last !== undefined && last.fingerprint === fingerprint && isSameWish(last.pod, pod)
    if (isUnchanged && (last.settled || performance.now() - last.atMs < POLL_MS / 2)) return
    void this.#work(key, this.#starts, async () => {
      // The pod may have changed, or gone, while this waited for its turn.
      const { name, namespace } = pod.metadata
      const current = this.#store.get('Pod', name, namespace)
      if (current === undefined || !this.#isWanted(current, runtime)) return
      const status = await this.#ensure(key, current, runtime)
      this.#looks.set(key, { pod: current, fingerprint, settled: isSettled(status), atMs: performance.now() })
      const latest = this.#store.get('Pod', name, namespace)
      // A pod that was replaced meanwhile must not get the status of its predecessor.
      if (latest === undefined || latest.metadata.uid !== current.metadata.uid) return
      if (!isDeepStrictEqual(latest.status, status)) await this.#store.putPodStatus(latest, status)
    })
  }

  async #ensure(key: string, pod: Pod, runtime: PodRuntime): Promise<PodStatus> {
    const status = await runtime.ensure(pod).catch((error: Error): PodStatus => {
      const message = error instanceof PolderError ? `${error.message} ${error.remedy}` : error.message
      const reason = error instanceof PolderError ? camelCase(error.code) : 'RunnerError'
      return { nodeName: this.#nodeName, phase: 'Pending', ...pod.status, reason, message }
    })
    const isNews = pod.status?.reason !== status.reason || pod.status?.message !== status.message
    if (status.message !== undefined && isNews) this.#log.warn({ pod: key, reason: status.reason }, status.message)
    return status
  }

  #remove(key: string, pod: HeldPod, runtime: PodRuntime): void {
    if (this.#isBusy(key)) return
    // A file that cannot be read may be this pod's: it is not taken for a deletion.
    const isKnown = this.#seen.has(key) || this.#store.get('Pod', pod.name, pod.namespace) !== undefined
    if (!isKnown && this.#store.problems().length > 0) return
    void this.#work(key, this.#removals, async () => {
      const current = this.#store.get('Pod', pod.name, pod.namespace)
      if (current !== undefined && this.#isHere(current, runtime)) return
      await runtime.remove(pod)
      this.#looks.delete(key)
      this.#seen.delete(key)
      this.#log.info({ pod: key }, 'pod removed')
    })
  }

  /** Ends a pod that is being deleted, takes it away, and says so. */
  #end(key: string, pod: Pod, runtime: PodRuntime): void {
    const uid = pod.metadata.uid ?? key
    const { deletionTimestamp: deadline } = pod.metadata
    const report = (status: PodStatus) => {
      this.#store.putPodStatus(pod, status).catch((error: Error) => {
        this.#log.warn({ err: error, pod: key }, 'the status of a pod that ends could not be written')
      })
    }
    const ending = this.#ending.get(uid)
    if (ending !== undefined && ending.deadline !== deadline) {
      ending.deadline = deadline
      // Whoever began it hears how it goes.
      runtime.terminate(pod, report).catch(() => {})
    }
    if (ending !== undefined || this.#isBusy(key)) return
    this.#ending.set(uid, { deadline })
    const work = this.#work(key, this.#ends, async () => {
      await runtime.terminate(pod, report)
      await runtime.remove({ namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name })
      await this.#store.endPod(pod)
      this.#looks.delete(key)
      this.#seen.delete(key)
      this.#log.info({ pod: key }, 'pod removed')
    })
    void work.finally(() => this.#ending.delete(uid))
  }

  #isHere(pod: Pod, runtime: PodRuntime): boolean {
    return nodeOf(pod) === this.#nodeName && this.runtimeOf(pod) === runtime
  }

  #isWanted(pod: Pod, runtime: PodRuntime): boolean {
    return this.#isHere(pod, runtime) && pod.metadata.deletionTimestamp === undefined
  }

  #isBusy(key: string): boolean {
    if (this.#busy.has(key)) this.#missed.add(key)
    return this.#busy.has(key)
  }

  /** Runs `work` when its turn comes; until it is over nothing else happens to the pod `key`. */
  #work(key: string, limit: Limit, work: () => Promise<void>): Promise<void> {
    this.#busy.add(key)
    return limit
      .run(async () => {
        if (!this.#stopped) await work()
      })
      .catch((error: Error) => {
        this.#looks.delete(key)
        this.#log.error({ err: error, pod: key }, 'pod: the last step failed and will be tried again')
      })
      .finally(() => {
        this.#busy.delete(key)
        if (this.#missed.delete(key)) this.#trigger()
      })
  }
}

/** At most `max` at a time; the others wait in order. */
class Limit {
  readonly #max: number
  readonly #waiting: (() => void)[] = []
  readonly #running = new Set<Promise<unknown>>()

  constructor(max: number) {
    this.#max = max
  }

  async run(work: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#max) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    const running = work()
    this.#running.add(running)
    try {
      await running
    } finally {
      this.#running.delete(running)
      this.#waiting.shift()?.()
    }
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running])
  }
}

function keyOf(pod: { namespace?: string; name: string }): string {
  return `${pod.namespace ?? 'default'}/${pod.name}`
}

/** Reasons in statuses are written like Kubernetes writes them: ContainerdUnreachable. */
function camelCase(code: string): string {
  return code.replace(/(?:^|-)([a-z])/g, (_match, letter: string) => letter.toUpperCase())
}

/** The runtime is asked again only for what a person can change; a status is the answer, not the question. */
function isSameWish(a: Pod, b: Pod): boolean {
  return isDeepStrictEqual([a.metadata, a.spec], [b.metadata, b.spec])
}

/** Nothing more happens to the pod by itself. */
function isSettled(status: PodStatus): boolean {
  if (status.phase === 'Succeeded' || status.phase === 'Failed') return true
  // What probes say of containers that run comes by itself (PodRuntime.list).
  const containers = status.containerStatuses ?? []
  return status.phase === 'Running' && containers.every(({ state }) => state.running !== undefined)
}
