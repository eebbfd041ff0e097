/**
 * Runs Pod manifests on this node's containerd, as a kubelet would: a sandbox (which is what calls CNI), then its
 * containers in order; what exits is started again as restartPolicy says; what died, or was made from another manifest,
 * is made anew. All state is containerd's: a new polderd finds its pods by their labels. Only back-off is in memory.
 *
 * It has no volumes, init containers or resource limits.
 */
import type { Writable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import type { ExecRequest } from '../../api/types.ts'
import type { Pod, PodStatus } from '../../cluster/objects.ts'
import { PolderError } from '../../errors.ts'
import type { ExecStreams, HeldPod, LogOptions, PodRuntime } from '../pod-runtime.ts'
import { type Probed, Prober } from '../probes/prober.ts'
import type { ContainerdClient, Container as CriContainer } from './client.ts'
import { CONTAINER_CREATED, CONTAINER_RUNNING, connectContainerd, SANDBOX_READY } from './client.ts'
import { Containers, isWanted } from './containers.ts'
import { execForOutput, execInContainer } from './exec.ts'
import { LOG_BYTES_MAX, rotateLogs } from './log-rotation.ts'
import { streamLog } from './logs.ts'
import * as config from './pod-config.ts'
import type { PodRecord } from './pod-record.ts'
import { findPod, listPods, newestContainer } from './pod-record.ts'
import type { PodView } from './pod-status.ts'
import { containerID, podStatus } from './pod-status.ts'
import { graceSeconds, isCurrent, Sandboxes } from './sandboxes.ts'
import { Termination } from './termination.ts'

export interface CriRuntimeOptions {
  containerdSocket: string
  facts: config.NodeFacts
  /** Folder for the named pipes of exec, in the same mount namespace as containerd. */
  execDir: string
  /** Called when a probe has changed what is to be said of a pod, and when a hook failed. */
  onNews?: (pod: { uid: string; container: string; message: string }) => void
}

export class CriRuntime implements PodRuntime {
  readonly #client: ContainerdClient
  readonly #facts: config.NodeFacts
  readonly #execDir: string
  readonly #sandboxes: Sandboxes
  readonly #containers: Containers
  readonly #prober: Prober
  readonly #onNews: NonNullable<CriRuntimeOptions['onNews']>
  /** Pods that end now, by uid. */
  readonly #endings = new Map<string, { termination: Termination; done: Promise<void>; look: () => void }>()

  constructor(options: CriRuntimeOptions) {
    this.#client = connectContainerd(options.containerdSocket)
    this.#facts = options.facts
    this.#execDir = options.execDir
    this.#sandboxes = new Sandboxes(this.#client, options.facts)
    this.#containers = new Containers(this.#client, this.#sandboxes, options.facts)
    this.#onNews = (news) => options.onNews?.(news)
    this.#prober = new Prober((uid, { name }, { ready, message, failed }) => {
      this.#endings.get(uid)?.look()
      const said = failed?.message ?? message ?? (ready ? 'it is ready' : 'it is not ready')
      this.#onNews({ uid, container: name, message: said })
    })
  }

  close(): void {
    this.#prober.pause()
    this.#client.close()
  }

  /** Name and version of the container runtime, as Node objects carry it: `containerd://1.6.20`. */
  async version(): Promise<string> {
    const { runtime_name, runtime_version } = await this.#client.call('runtime.Version', {})
    return `${runtime_name}://${runtime_version}`
  }

  async list(): Promise<HeldPod[]> {
    const pods = await listPods(this.#client)
    return pods.map((pod) => ({ ...pod, fingerprint: `${pod.fingerprint}${this.#prober.revision(pod.uid!)}` }))
  }

  /** No probes until resume(). */
  pause(): void {
    this.#prober.pause()
  }

  resume(): void {
    this.#prober.resume()
  }

  async ensure(pod: Pod): Promise<PodStatus> {
    const record = await this.#ownRecord(pod)
    // Without their sandbox containers have no network to speak of: they end before anything is decided about them.
    if (!isCurrent(pod, record)) await this.#sandboxes.stopContainers(record.containers, graceSeconds(record))
    await this.#stopFailed(record)
    const views = await Promise.all(pod.spec.containers.map((container) => this.#containers.look(container, record)))
    const wanted = pod.spec.containers.filter((container, index) => isWanted(pod, container, views[index]!, record))
    const view: PodView = { containers: views, podIPs: [], nodeName: this.#facts.nodeName }
    if (this.#facts.hostIPs[0] !== undefined) view.hostIP = this.#facts.hostIPs[0]
    if (wanted.length === 0) {
      // The pod is finished: its network is given back, its containers stay for their logs.
      this.#prober.forget(config.podUid(pod))
      if (record.sandboxes[0]?.state === SANDBOX_READY) await this.#sandboxes.stop(record)
      return podStatus(pod, view, Date.now())
    }
    const sandbox = await this.#sandboxes.ensure(pod, record)
    if ('reason' in sandbox) {
      view.trouble = { reason: sandbox.reason, message: sandbox.message }
      return podStatus(pod, view, Date.now())
    }
    view.podIPs = sandbox.podIPs
    for (const container of wanted) {
      const own = views.find((candidate) => candidate.name === container.name)!
      await this.#containers.ensure({ pod, container, view: own, sandbox, record })
    }
    await this.#removeLeftovers(pod, record, sandbox.id)
    this.#probe(pod, view)
    return podStatus(pod, view, Date.now())
  }

  async terminate(pod: Pod, report: (status: PodStatus) => void): Promise<void> {
    const uid = config.podUid(pod)
    const known = this.#endings.get(uid)
    if (known !== undefined) {
      known.termination.hasten(pod)
      return await known.done
    }
    let said = pod.status
    const say = async () => {
      const view = await this.#viewOf(pod)
      const status = podStatus({ ...pod, ...(said && { status: said }) }, view, Date.now())
      if (!isDeepStrictEqual(status, said)) report(status)
      said = status
      return view
    }
    // The next one will say it, or nobody needs to know any more.
    const look = () => void say().catch(() => {})
    const onHookFailed = (container: string, message: string) => this.#onNews({ uid, container, message })
    const termination = new Termination(this.#client, pod, { onEnded: look, onHookFailed })
    const done = say()
      .then((view) => termination.run(this.#running(pod, view)))
      .then(() =>
        say().then(
          () => {},
          () => {},
        ),
      )
    this.#endings.set(uid, { termination, done, look })
    await done.finally(() => this.#endings.delete(uid))
  }

  async remove(pod: { namespace: string; name: string }): Promise<void> {
    const record = await findPod(this.#client, pod.namespace, pod.name)
    await this.#sandboxes.remove(record)
    for (const { metadata } of record.sandboxes) {
      this.#containers.forget(metadata.uid)
      this.#prober.forget(metadata.uid)
    }
  }

  async exec(pod: Pod, request: ExecRequest, streams: ExecStreams): Promise<number> {
    const container = await this.#chosen(pod, request.container)
    if (container.state !== CONTAINER_RUNNING)
      throw new PolderError(
        'container-not-running',
        `Container ${container.metadata.name} of pod ${pod.metadata.name} is not running.`,
        `See why: polder describe pod ${pod.metadata.name} -n ${config.podNamespace(pod)}`,
      )
    return await execInContainer(this.#client, this.#execDir, container.id, request, streams)
  }

  async logs(pod: Pod, options: LogOptions, out: Writable): Promise<void> {
    const { id } = await this.#chosen(pod, options.container)
    const status = async () => (await this.#client.call('runtime.ContainerStatus', { container_id: id })).status
    const { log_path } = await status()
    const isOver = async () => {
      // A container that is gone writes no more.
      const state = await status().then(
        (answer) => answer.state,
        () => undefined,
      )
      return state !== CONTAINER_RUNNING && state !== CONTAINER_CREATED
    }
    await streamLog(log_path, options, out, isOver)
  }

  /** Begins anew what has grown too long. For now and then. */
  async rotateLogs(bytesMax = LOG_BYTES_MAX): Promise<void> {
    await rotateLogs(this.#client, this.#facts.logRoot, bytesMax)
  }

  /** Stops containers of which a probe says that they have to be restarted; then they are as if they had ended. */
  async #stopFailed(record: PodRecord): Promise<void> {
    for (const container of record.containers) {
      const failed = this.#prober.verdict(container.id)?.failed
      if (container.state !== CONTAINER_RUNNING || failed === undefined) continue
      const grace = failed.probe.terminationGracePeriodSeconds ?? graceSeconds(record)
      await this.#sandboxes.stopContainers([container], grace)
    }
  }

  /** What there is of a pod that ends: nothing of it is made any more. */
  async #viewOf(pod: Pod): Promise<PodView> {
    const record = await this.#ownRecord(pod)
    const containers = await Promise.all(pod.spec.containers.map((one) => this.#containers.look(one, record)))
    const podIPs = pod.status?.podIPs?.map(({ ip }) => ip) ?? []
    const view: PodView = { containers, podIPs, nodeName: this.#facts.nodeName }
    if (this.#facts.hostIPs[0] !== undefined) view.hostIP = this.#facts.hostIPs[0]
    this.#probe(pod, view)
    return view
  }

  /** Has the containers probed that run now, and says in `view` what is known of each. */
  #probe(pod: Pod, view: PodView): void {
    this.#prober.follow(config.podUid(pod), this.#running(pod, view))
    for (const one of view.containers) {
      const verdict = one.current && this.#prober.verdict(one.current.id)
      if (verdict !== undefined) one.verdict = verdict
    }
  }

  #running(pod: Pod, view: PodView): Probed[] {
    return view.containers.flatMap(({ name, current }): Probed[] => {
      const container = pod.spec.containers.find((one) => one.name === name)!
      if (current?.state !== CONTAINER_RUNNING) return []
      const before = pod.status?.containerStatuses?.find((one) => one.name === name)
      return [
        {
          id: current.id,
          container,
          address: view.podIPs[0] ?? '',
          startedAtMs: Number(BigInt(current.started_at) / 1_000_000n),
          wasReady: before?.containerID === containerID(current.id) && before.ready,
          exec: (command, timeoutMs) => execForOutput(this.#client, this.#execDir, current.id, command, timeoutMs),
        },
      ]
    })
  }

  /** What containerd has of this pod; what an earlier pod of the same name left is removed first. */
  async #ownRecord(pod: Pod): Promise<PodRecord> {
    const uid = config.podUid(pod)
    const record = await findPod(this.#client, config.podNamespace(pod), pod.metadata.name)
    const isOwn = (item: { labels: Record<string, string> }) => item.labels[config.LABEL_POD_UID] === uid
    const isOther = (item: { labels: Record<string, string> }) => !isOwn(item)
    const other = { sandboxes: record.sandboxes.filter(isOther), containers: record.containers.filter(isOther) }
    if (other.sandboxes.length + other.containers.length > 0) await this.#sandboxes.remove(other)
    return { sandboxes: record.sandboxes.filter(isOwn), containers: record.containers.filter(isOwn) }
  }

  /** Containers that the manifest no longer names, and sandboxes that were replaced. */
  async #removeLeftovers(pod: Pod, before: PodRecord, liveId: string): Promise<void> {
    const isNamed = (item: CriContainer) => pod.spec.containers.some(({ name }) => name === item.metadata.name)
    const unnamed = before.containers.filter((item) => !isNamed(item))
    const replaced = before.sandboxes.some(({ id }) => id !== liveId)
    if (unnamed.length === 0 && !replaced) return
    await this.#sandboxes.stopContainers(unnamed, 0)
    for (const item of unnamed) await this.#containers.remove(item)
    await this.#sandboxes.removeEmpty(await findPod(this.#client, config.podNamespace(pod), pod.metadata.name), liveId)
  }

  /** The container a person means: the one named, else the first. */
  async #chosen(pod: Pod, name: string | undefined): Promise<CriContainer> {
    const names = pod.spec.containers.map((container) => container.name)
    if (name !== undefined && !names.includes(name))
      throw new PolderError(
        'container-unknown',
        `Pod ${pod.metadata.name} has no container ${name}.`,
        `Choose one of: ${names.join(', ')}`,
      )
    const record = await findPod(this.#client, config.podNamespace(pod), pod.metadata.name)
    const found = newestContainer(record, name ?? names[0]!)
    if (found !== undefined) return found
    throw new PolderError(
      'container-not-started',
      `Container ${name ?? names[0]} of pod ${pod.metadata.name} has not started yet.`,
      `See why: polder describe pod ${pod.metadata.name} -n ${config.podNamespace(pod)}`,
    )
  }
}
