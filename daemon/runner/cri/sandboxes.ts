/**
 * The sandboxes of pods: one live sandbox for each pod, made again when it died or when the manifest wants another.
 * RunPodSandbox is what calls CNI ADD, StopPodSandbox what calls CNI DEL.
 */
import { rm } from 'node:fs/promises'
import type { Pod } from '../../cluster/objects.ts'
import { BackOff } from './back-off.ts'
import type { Container, ContainerdClient, SandboxConfig } from './client.ts'
import { CONTAINER_EXITED, SANDBOX_READY } from './client.ts'
import * as config from './pod-config.ts'
import type { PodRecord } from './pod-record.ts'

const RETRY_INITIAL_MS = 1000
const RETRY_MAX_MS = 30_000
/** How much longer than the pod's own grace period stopping may take. */
const STOP_SLACK_MS = 60_000

export interface LiveSandbox {
  id: string
  config: SandboxConfig
  podIPs: string[]
}

export interface SandboxFailure {
  atMs: number
  reason: string
  message: string
}

export class Sandboxes {
  readonly #client: ContainerdClient
  readonly #facts: config.NodeFacts
  readonly #retries = new BackOff(RETRY_INITIAL_MS, RETRY_MAX_MS)
  readonly #failures = new Map<string, SandboxFailure>()
  /** A sandbox keeps its addresses for life. */
  readonly #addresses = new Map<string, string[]>()

  constructor(client: ContainerdClient, facts: config.NodeFacts) {
    this.#client = client
    this.#facts = facts
  }

  /** The live sandbox made from this manifest, made now where there is none; or why it cannot be had. */
  async ensure(pod: Pod, record: PodRecord): Promise<LiveSandbox | SandboxFailure> {
    const newest = record.sandboxes[0]
    if (newest !== undefined && isCurrent(pod, record))
      return await this.#live(pod, newest.id, config.sandboxConfig(pod, newest.metadata.attempt, this.#facts))
    const key = config.podUid(pod)
    const failure = this.#failures.get(key)
    if (failure !== undefined && this.#retries.remainingMs(key, failure.atMs, performance.now()) > 0) return failure
    try {
      await this.stop(record)
      const attempt = (newest?.metadata.attempt ?? -1) + 1
      const sandboxConfig = config.sandboxConfig(pod, attempt, this.#facts)
      const { pod_sandbox_id } = await this.#client.call('runtime.RunPodSandbox', { config: sandboxConfig })
      this.forget(key)
      return await this.#live(pod, pod_sandbox_id, sandboxConfig)
    } catch (error) {
      this.#retries.tried(key, performance.now())
      const fresh = { atMs: performance.now(), reason: 'FailedCreatePodSandBox', message: (error as Error).message }
      this.#failures.set(key, fresh)
      return fresh
    }
  }

  /** Stops the containers with the pod's patience, then the sandboxes. */
  async stop(record: PodRecord): Promise<void> {
    await this.stopContainers(record.containers, graceSeconds(record))
    for (const sandbox of record.sandboxes)
      if (sandbox.state === SANDBOX_READY)
        await this.#client.call('runtime.StopPodSandbox', { pod_sandbox_id: sandbox.id })
  }

  async stopContainers(containers: Container[], grace: number): Promise<void> {
    const stops = containers
      .filter((container) => container.state !== CONTAINER_EXITED)
      .map(({ id }) =>
        this.#client.call(
          'runtime.StopContainer',
          { container_id: id, timeout: grace },
          { timeoutMs: grace * 1000 + STOP_SLACK_MS },
        ),
      )
    await Promise.all(stops)
  }

  /** Stops and removes everything in the record, logs too. */
  async remove(record: PodRecord): Promise<void> {
    await this.stopContainers(record.containers, graceSeconds(record))
    for (const container of record.containers)
      await this.#client.call('runtime.RemoveContainer', { container_id: container.id })
    for (const { id, metadata } of record.sandboxes) {
      // Also a sandbox that is not ready may still hold its network.
      await this.#client.call('runtime.StopPodSandbox', { pod_sandbox_id: id })
      await this.#client.call('runtime.RemovePodSandbox', { pod_sandbox_id: id })
      this.#addresses.delete(id)
      this.forget(metadata.uid)
      const folder = config.logDirectory(this.#facts.logRoot, metadata.namespace, metadata.name, metadata.uid)
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** Removes old sandboxes in which nothing is left that anyone would ask for. */
  async removeEmpty(record: PodRecord, liveId: string): Promise<void> {
    for (const { id } of record.sandboxes) {
      if (id === liveId || record.containers.some((container) => container.pod_sandbox_id === id)) continue
      await this.#client.call('runtime.StopPodSandbox', { pod_sandbox_id: id })
      await this.#client.call('runtime.RemovePodSandbox', { pod_sandbox_id: id })
      this.#addresses.delete(id)
    }
  }

  forget(uid: string): void {
    this.#failures.delete(uid)
    this.#retries.forget(uid)
  }

  async #live(pod: Pod, id: string, sandboxConfig: SandboxConfig): Promise<LiveSandbox> {
    if (pod.spec.hostNetwork === true) return { id, config: sandboxConfig, podIPs: this.#facts.hostIPs }
    let podIPs = this.#addresses.get(id)
    if (podIPs === undefined) {
      const { status } = await this.#client.call('runtime.PodSandboxStatus', { pod_sandbox_id: id })
      const { ip = '', additional_ips = [] } = status.network ?? {}
      podIPs = [ip, ...additional_ips.map((additional) => additional.ip)].filter((address) => address !== '')
      this.#addresses.set(id, podIPs)
    }
    return { id, config: sandboxConfig, podIPs }
  }
}

/** The newest sandbox lives and was made from this manifest. */
export function isCurrent(pod: Pod, record: PodRecord): boolean {
  const newest = record.sandboxes[0]
  return newest?.state === SANDBOX_READY && newest.annotations[config.ANNOTATION_HASH] === config.sandboxHash(pod)
}

export function graceSeconds(record: PodRecord): number {
  return Number(record.sandboxes[0]?.annotations[config.ANNOTATION_GRACE] ?? 0)
}
