/**
 * A pod's status from what containerd says of its sandbox and containers: phases, reasons and conditions as the
 * kubelet derives them. Pure: time is an argument, and only what changed gets a new transition time.
 */
import type { Condition, ContainerStatus, Pod, PodPhase, PodStatus } from '../../cluster/objects.ts'
import type { Verdict } from '../probes/prober.ts'
import type { ContainerStatus as CriContainerStatus } from './client.ts'
import { CONTAINER_EXITED, CONTAINER_RUNNING } from './client.ts'

/** What is known of one container of the pod. */
export interface ContainerView {
  name: string
  image: string
  restartCount: number
  /** Its newest container in containerd; absent before the first. */
  current?: CriContainerStatus
  /** Why there is none, or why a new one has to wait. */
  waiting?: { reason: string; message?: string }
  /** What its probes say; absent: it has none, or was not asked yet. */
  verdict?: Pick<Verdict, 'ready' | 'message'>
}

export interface PodView {
  containers: ContainerView[]
  podIPs: string[]
  nodeName: string
  hostIP?: string
  /** What stands in the way of the whole pod. */
  trouble?: { reason: string; message: string }
}

export function podPhase(pod: Pod, containers: ContainerView[]): PodPhase {
  const restartPolicy = pod.spec.restartPolicy ?? 'Always'
  const states = containers.map((view) => view.current?.state)
  if (states.some((state) => state !== CONTAINER_RUNNING && state !== CONTAINER_EXITED)) return 'Pending'
  if (states.includes(CONTAINER_RUNNING) || restartPolicy === 'Always') return 'Running'
  if (containers.every((view) => view.current!.exit_code === 0)) return 'Succeeded'
  return restartPolicy === 'Never' ? 'Failed' : 'Running'
}

export function podStatus(pod: Pod, view: PodView, nowMs: number): PodStatus {
  const phase = podPhase(pod, view.containers)
  const finished = phase === 'Succeeded' || phase === 'Failed'
  const containerStatuses = view.containers.map(containerStatus)
  const status: PodStatus = { nodeName: view.nodeName, phase }
  if (view.trouble !== undefined) Object.assign(status, view.trouble)
  // The addresses of a finished pod are free for others.
  if (view.podIPs.length > 0 && !finished) {
    status.podIP = view.podIPs[0]!
    status.podIPs = view.podIPs.map((ip) => ({ ip }))
  }
  if (view.hostIP !== undefined) status.hostIP = view.hostIP
  status.startTime = pod.status?.startTime ?? new Date(nowMs).toISOString()
  const why = view.containers.flatMap(({ name, current, verdict }) =>
    current?.state === CONTAINER_RUNNING && verdict?.message !== undefined ? [`${name}: ${verdict.message}`] : [],
  )
  status.conditions = podConditions(phase, containerStatuses, pod.status?.conditions ?? [], nowMs, why)
  status.containerStatuses = containerStatuses
  return status
}

/** A container as statuses name it. */
export function containerID(id: string): string {
  return `containerd://${id}`
}

function containerStatus(view: ContainerView): ContainerStatus {
  const { current, waiting } = view
  const status: ContainerStatus = {
    name: view.name,
    image: view.image,
    ready: current?.state === CONTAINER_RUNNING && view.verdict?.ready !== false,
    restartCount: view.restartCount,
    state: {},
  }
  if (current !== undefined) status.containerID = containerID(current.id)
  if (current?.state === CONTAINER_RUNNING) status.state.running = { startedAt: isoTime(current.started_at)! }
  else if (waiting !== undefined) status.state.waiting = waiting
  else if (current?.state === CONTAINER_EXITED) status.state.terminated = terminated(current)
  else status.state.waiting = { reason: 'ContainerCreating' }
  return status
}

function terminated(current: CriContainerStatus): NonNullable<ContainerStatus['state']['terminated']> {
  const state: NonNullable<ContainerStatus['state']['terminated']> = {
    exitCode: current.exit_code,
    reason: current.reason || (current.exit_code === 0 ? 'Completed' : 'Error'),
  }
  if (current.message !== '') state.message = current.message
  const startedAt = isoTime(current.started_at)
  const finishedAt = isoTime(current.finished_at)
  if (startedAt !== undefined) state.startedAt = startedAt
  if (finishedAt !== undefined) state.finishedAt = finishedAt
  return state
}

/** The conditions in kubectl's order; `previous` gives the time of those that did not change, `why` what probes say. */
export function podConditions(
  phase: PodPhase,
  containers: ContainerStatus[],
  previous: Condition[],
  nowMs: number,
  why: string[] = [],
): Condition[] {
  const unready = containers.filter((container) => !container.ready).map((container) => container.name)
  const completed = phase === 'Succeeded'
  const ready: Partial<Condition> = { status: unready.length === 0 ? 'True' : 'False' }
  if (completed) ready.reason = 'PodCompleted'
  else if (unready.length > 0) {
    ready.reason = 'ContainersNotReady'
    ready.message = [`containers with unready status: [${unready.join(' ')}]`, ...why].join('; ')
  }
  const facts: [string, Partial<Condition>][] = [
    ['Initialized', { status: 'True' }],
    ['Ready', ready],
    ['ContainersReady', ready],
    ['PodScheduled', { status: 'True' }],
  ]
  return facts.map(([type, fact]) => {
    const before = previous.find((condition) => condition.type === type && condition.status === fact.status)
    const lastTransitionTime = before?.lastTransitionTime ?? new Date(nowMs).toISOString()
    return { type, ...fact, lastTransitionTime } as Condition
  })
}

/** CRI times are nanoseconds since the epoch, 0 where there is none. */
function isoTime(nanoseconds: string): string | undefined {
  return nanoseconds === '0' ? undefined : new Date(Number(BigInt(nanoseconds) / 1_000_000n)).toISOString()
}
