/**
 * A pod's state in one word, as kubectl's STATUS column: the reason its containers give, else its phase. Containers
 * count from the last to the first, so that the first one's reason wins.
 */
import type { Node, Pod } from '../daemon/cluster/objects.ts'

export interface PodSummary {
  ready: string
  status: string
  restarts: number
}

export function summarizePod(pod: Pod): PodSummary {
  const statuses = pod.status?.containerStatuses ?? []
  let status = pod.status?.reason || pod.status?.phase || 'Pending'
  let readyContainers = 0
  let restarts = 0
  let running = false
  for (const container of statuses.toReversed()) {
    const { waiting, terminated } = container.state
    restarts += container.restartCount
    if (waiting?.reason) status = waiting.reason
    else if (terminated !== undefined) status = terminated.reason || `ExitCode:${terminated.exitCode}`
    else if (container.ready && container.state.running !== undefined) {
      running = true
      readyContainers++
    }
  }
  if (pod.metadata.deletionTimestamp !== undefined) status = 'Terminating'
  if (status === 'Completed' && running) status = isReady(pod) ? 'Running' : 'NotReady'
  return { ready: `${readyContainers}/${pod.spec.containers.length}`, status, restarts }
}

export function isReady(object: Pod | Node): boolean {
  return object.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') ?? false
}

export function podAddresses(pod: Pod): string[] {
  const all = pod.status?.podIPs?.map((each) => each.ip) ?? []
  if (all.length > 0) return all
  return pod.status?.podIP ? [pod.status.podIP] : []
}
