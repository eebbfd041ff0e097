/**
 * The containers of a pod in its live sandbox: created, started, and started again as restartPolicy says. The first
 * restart comes at once, the next ones 10 s, 20 s, … 5 min after the end, as the kubelet does it.
 */
import { rm } from 'node:fs/promises'
import type { Container, Pod } from '../../cluster/objects.ts'
import { BackOff } from './back-off.ts'
import type { ContainerdClient, ContainerStatus, Container as CriContainer } from './client.ts'
import { CONTAINER_CREATED, CONTAINER_EXITED, CONTAINER_RUNNING } from './client.ts'
import { Images } from './images.ts'
import { rotatedPath } from './log-rotation.ts'
import * as config from './pod-config.ts'
import type { PodRecord } from './pod-record.ts'
import { newestContainer } from './pod-record.ts'
import type { ContainerView } from './pod-status.ts'
import type { LiveSandbox, Sandboxes } from './sandboxes.ts'
import { graceSeconds } from './sandboxes.ts'

const RESTART_INITIAL_MS = 10_000
const RESTART_MAX_MS = 300_000

type Waiting = NonNullable<ContainerView['waiting']>

/** A container that should run, what is known of it, and where it belongs. */
export interface WantedContainer {
  pod: Pod
  container: Container
  view: ContainerView
  sandbox: LiveSandbox
  record: PodRecord
}

export class Containers {
  readonly #client: ContainerdClient
  readonly #sandboxes: Sandboxes
  readonly #facts: config.NodeFacts
  readonly #images: Images
  readonly #restarts = new BackOff(RESTART_INITIAL_MS, RESTART_MAX_MS)
  /** Containers that could not even be created, by `UID/NAME`. */
  readonly #failures = new Map<string, { atMs: number; message: string; sandboxId: string }>()

  constructor(client: ContainerdClient, sandboxes: Sandboxes, facts: config.NodeFacts) {
    this.#client = client
    this.#sandboxes = sandboxes
    this.#facts = facts
    this.#images = new Images(client)
  }

  async look(container: Container, record: PodRecord): Promise<ContainerView> {
    const newest = newestContainer(record, container.name)
    const view: ContainerView = { name: container.name, image: container.image, restartCount: 0 }
    if (newest === undefined) return view
    view.restartCount = newest.metadata.attempt
    view.current = await this.#status(newest.id)
    return view
  }

  /** Brings one wanted container nearer to running and `view` up to date; one that runs as it should is left alone. */
  async ensure(wanted: WantedContainer): Promise<void> {
    const { pod, container, view, sandbox, record } = wanted
    const previous = newestContainer(record, container.name)
    const isMeant = previous !== undefined && isFromManifest(pod, container, previous)
    if (isMeant && view.current?.state === CONTAINER_RUNNING && previous.pod_sandbox_id === sandbox.id) return
    const key = `${config.podUid(pod)}/${container.name}`
    const attempt = nextAttempt(previous)
    const heldBack = this.#heldBack(key, sandbox.id, isMeant ? view.current : undefined)
    const waiting = heldBack ?? (await this.#imageWait(container, key, attempt))
    if (waiting !== undefined) {
      view.waiting = waiting
      return
    }
    const isRestart = isMeant && previous.state !== CONTAINER_CREATED
    if (isRestart) this.#restarts.tried(key, Date.now())
    try {
      await this.#replace(wanted, previous, attempt)
      this.#failures.delete(key)
    } catch (error) {
      const { message } = error as Error
      if (!isRestart) this.#restarts.tried(key, Date.now())
      this.#failures.set(key, { atMs: Date.now(), message, sandboxId: sandbox.id })
      view.waiting = { reason: 'CreateContainerError', message }
    }
  }

  async remove(container: CriContainer): Promise<void> {
    const { log_path } = await this.#status(container.id)
    await this.#client.call('runtime.RemoveContainer', { container_id: container.id })
    if (log_path === '') return
    for (const path of [log_path, rotatedPath(log_path)]) await rm(path, { force: true })
  }

  forget(uid: string): void {
    this.#restarts.forget(`${uid}/`)
    this.#images.forget(`${uid}/`)
    for (const key of this.#failures.keys()) if (key.startsWith(`${uid}/`)) this.#failures.delete(key)
  }

  async #replace(wanted: WantedContainer, previous: CriContainer | undefined, attempt: number): Promise<void> {
    const { pod, container, view, sandbox, record } = wanted
    if (previous?.state === CONTAINER_RUNNING) await this.#sandboxes.stopContainers([previous], graceSeconds(record))
    if (previous?.state === CONTAINER_CREATED) await this.remove(previous)
    const created = await this.#client.call('runtime.CreateContainer', {
      pod_sandbox_id: sandbox.id,
      config: config.containerConfig(pod, container, attempt, sandbox.podIPs, this.#facts),
      sandbox_config: sandbox.config,
    })
    // A container that cannot start is one that ended: containerd keeps why, and it is restarted like any other.
    await this.#client.call('runtime.StartContainer', created).catch(() => {})
    view.current = await this.#status(created.container_id)
    view.restartCount = attempt
    if (previous !== undefined && previous.state !== CONTAINER_CREATED) await this.remove(previous)
  }

  /** Why a container that ended, or could not be created, is not started right now. */
  #heldBack(key: string, sandboxId: string, ended: ContainerStatus | undefined): Waiting | undefined {
    const failure = this.#failures.get(key)
    // What failed in a sandbox that is gone may have failed because it was going.
    if (failure?.sandboxId === sandboxId && this.#restarts.remainingMs(key, failure.atMs, Date.now()) > 0)
      return { reason: 'CreateContainerError', message: failure.message }
    if (ended?.state !== CONTAINER_EXITED) return undefined
    const endedAtMs = Number(BigInt(ended.finished_at) / 1_000_000n)
    if (this.#restarts.remainingMs(key, endedAtMs, Date.now()) === 0) return undefined
    const seconds = this.#restarts.delayMs(key) / 1000
    const why = [`exit code ${ended.exit_code}`, ended.reason, ended.message].filter((word) => word !== '').join(', ')
    return { reason: 'CrashLoopBackOff', message: `Waits ${seconds} s before the next start; it ended with ${why}` }
  }

  async #imageWait(container: Container, key: string, attempt: number): Promise<Waiting | undefined> {
    const image = await this.#images.ensure(container, `${key}/${attempt}`)
    return image.ready ? undefined : { reason: image.reason, message: image.message }
  }

  async #status(id: string): Promise<ContainerStatus> {
    return (await this.#client.call('runtime.ContainerStatus', { container_id: id })).status
  }
}

/** Whether this container should run: it never did, it runs, it ended but is to be restarted, or the manifest changed. */
export function isWanted(pod: Pod, container: Container, view: ContainerView, record: PodRecord): boolean {
  const newest = newestContainer(record, container.name)
  if (view.current === undefined || newest === undefined || !isFromManifest(pod, container, newest)) return true
  if (view.current.state !== CONTAINER_EXITED) return true
  const restartPolicy = pod.spec.restartPolicy ?? 'Always'
  return restartPolicy === 'Always' || (restartPolicy === 'OnFailure' && view.current.exit_code !== 0)
}

function isFromManifest(pod: Pod, container: Container, made: CriContainer): boolean {
  return made.annotations[config.ANNOTATION_HASH] === config.containerHash(pod, container)
}

/** The number of a container is the number of restarts before it; one that was only created has not counted yet. */
function nextAttempt(previous: CriContainer | undefined): number {
  if (previous === undefined) return 0
  return previous.state === CONTAINER_CREATED ? previous.metadata.attempt : previous.metadata.attempt + 1
}
