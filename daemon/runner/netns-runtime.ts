/**
 * Pods without a container: a pod of runtimeClassName `netns` is a network namespace /run/netns/NAME on its node
 * (NAMESPACE_NAME outside `default`; neither part can hold an underscore), attached like a container's. Nothing runs
 * in it but what a person starts there: the fastest lab.
 *
 * What is here is what the attachments say, so a new polderd finds it again. A namespace of that name that somebody
 * else made is never touched. There is no log, and no terminal: `ip netns exec` gives one.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { constants } from 'node:os'
import type { Writable } from 'node:stream'
import type { ExecRequest } from '../api/types.ts'
import type { Attachment, Attachments } from '../attachments/attachment.ts'
import type { Pod, PodStatus } from '../cluster/objects.ts'
import { PolderError } from '../errors.ts'
import { createNetns, deleteNetns } from '../nic/nic.ts'
import { podConditions } from './cri/pod-status.ts'
import type { ExecStreams, HeldPod, LogOptions, PodRuntime } from './pod-runtime.ts'

export const NETNS_RUNTIME_CLASS = 'netns'
const NETNS_FOLDER = '/run/netns'
const IF_NAME = 'eth0'

export interface NetnsRuntimeOptions {
  attachments: Attachments
  nodeName: string
  hostIPs: string[]
  /** Name of the network that the attachments are recorded under. */
  network: string
}

interface PodName {
  namespace: string
  name: string
}

export class NetnsRuntime implements PodRuntime {
  readonly #attachments: Attachments
  readonly #nodeName: string
  readonly #hostIPs: string[]
  readonly #network: string

  constructor({ attachments, nodeName, hostIPs, network }: NetnsRuntimeOptions) {
    this.#attachments = attachments
    this.#nodeName = nodeName
    this.#hostIPs = hostIPs
    this.#network = network
  }

  async ensure(pod: Pod): Promise<PodStatus> {
    const name = nameOf(pod)
    try {
      const found = this.#attachments.get(containerId(name), IF_NAME)
      const isCurrent = found !== undefined && found.pod?.uid === pod.metadata.uid && existsSync(found.netns)
      if (found !== undefined && !isCurrent) await this.remove(name)
      return this.#status(pod, isCurrent ? found : await this.#create(pod))
    } catch (error) {
      if (!(error instanceof PolderError)) throw error
      const message = `${error.message} ${error.remedy}`
      return { nodeName: this.#nodeName, phase: 'Pending', reason: 'FailedCreateNetns', message }
    }
  }

  /** Nothing runs in it that would have to be asked. */
  async terminate(): Promise<void> {}

  async remove(name: PodName): Promise<void> {
    const id = containerId(name)
    const found = this.#attachments.get(id, IF_NAME)
    if (found === undefined) return
    // The namespace goes first: without its attachment nobody would know any more whose it is.
    if (existsSync(found.netns)) deleteNetns(found.netns)
    await this.#attachments.remove(id, IF_NAME)
  }

  async list(): Promise<HeldPod[]> {
    return this.#attachments
      .list()
      .filter(({ containerId: id, pod }) => pod !== undefined && id === containerId(pod))
      .map(({ pod, netns, createdAt }) => ({ ...pod!, fingerprint: `${createdAt} ${existsSync(netns)}` }))
  }

  async exec(pod: Pod, request: ExecRequest, streams: ExecStreams): Promise<number> {
    const path = this.#pathOf(pod)
    if (request.tty === true)
      throw new PolderError(
        'no-terminal',
        `Pod ${pod.metadata.name} is a bare network namespace: commands in it get no terminal.`,
        `Leave -t out, or run on the node: ip netns exec ${netnsName(nameOf(pod))} ${request.command.join(' ')}`,
      )
    const child = spawn('nsenter', [`--net=${path}`, '--', ...request.command], { stdio: 'pipe' })
    const onGone = () => child.kill('SIGKILL')
    streams.stdout.once('close', onGone)
    child.stdin.on('error', () => streams.stdin.unpipe(child.stdin))
    streams.stdin.pipe(child.stdin)
    if (request.stdin !== true) child.stdin.end()
    child.stdout.pipe(streams.stdout, { end: false })
    child.stderr.pipe(streams.stderr, { end: false })
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    streams.stdout.off('close', onGone)
    return code ?? 128 + constants.signals[signal!]
  }

  async logs(pod: Pod, _options: LogOptions, _out: Writable): Promise<void> {
    throw new PolderError(
      'no-log',
      `Pod ${pod.metadata.name} is a bare network namespace: nothing runs in it that could log.`,
      `Run commands in it: polder exec ${pod.metadata.name} -- ip addr`,
    )
  }

  async #create(pod: Pod): Promise<Attachment> {
    const name = nameOf(pod)
    const path = `${NETNS_FOLDER}/${netnsName(name)}`
    if (existsSync(path))
      throw new PolderError(
        'exists',
        `${path} exists on node ${this.#nodeName} and is not polder's.`,
        `Choose another pod name, or remove it: ip netns delete ${netnsName(name)}`,
      )
    mkdirSync(NETNS_FOLDER, { recursive: true })
    createNetns(path)
    try {
      return await this.#attachments.add({
        containerId: containerId(name),
        ifName: IF_NAME,
        netns: path,
        network: this.#network,
        pod: pod.metadata.uid === undefined ? name : { ...name, uid: pod.metadata.uid },
      })
    } catch (error) {
      deleteNetns(path)
      throw error
    }
  }

  #status(pod: Pod, attachment: Attachment): PodStatus {
    const { addresses, createdAt } = attachment
    const status: PodStatus = { nodeName: this.#nodeName, phase: 'Running' }
    if (addresses[0] !== undefined) status.podIP = addresses[0]
    status.podIPs = addresses.map((ip) => ({ ip }))
    if (this.#hostIPs[0] !== undefined) status.hostIP = this.#hostIPs[0]
    status.startTime = createdAt
    status.conditions = podConditions('Running', [], pod.status?.conditions ?? [], Date.now())
    status.containerStatuses = []
    return status
  }

  #pathOf(pod: Pod): string {
    const found = this.#attachments.get(containerId(nameOf(pod)), IF_NAME)
    if (found !== undefined) return found.netns
    throw new PolderError(
      'not-ready',
      `Pod ${pod.metadata.name} is not attached yet.`,
      `See why: polder describe pod ${pod.metadata.name} -n ${nameOf(pod).namespace}`,
    )
  }
}

function nameOf(pod: Pod): PodName {
  return { namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name }
}

function netnsName({ namespace, name }: PodName): string {
  return namespace === 'default' ? name : `${namespace}_${name}`
}

function containerId(name: PodName): string {
  return `netns-${netnsName(name)}`
}
