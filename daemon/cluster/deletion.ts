/**
 * Pods that are being deleted: when they must have ended. As Kubernetes has it, `deletionTimestamp` is the moment of the
 * deletion plus the grace period: the deadline itself. Pure.
 */
import { nodeOf, type Pod } from './objects.ts'

const DEFAULT_GRACE_SECONDS = 30

/** What of a pod has to be ended on a node before it is gone: nothing where no runner has begun it. */
export function isStarted(pod: Pod): boolean {
  return nodeOf(pod) !== undefined && pod.status?.startTime !== undefined
}

export function graceSecondsOf({ spec }: Pod): number {
  return spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS
}

/** The pod as it is deleted at `nowMs`. */
export function deleted(pod: Pod, nowMs: number, graceSeconds = graceSecondsOf(pod)): Pod {
  const deletionTimestamp = new Date(nowMs + graceSeconds * 1000).toISOString()
  return { ...pod, metadata: { ...pod.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds } }
}

/** A pod that is being deleted, deleted again: sooner where less grace is asked for, never later. */
export function hastened(pod: Pod, graceSeconds: number | undefined): Pod {
  const { deletionTimestamp, deletionGracePeriodSeconds: before = 0 } = pod.metadata
  if (graceSeconds === undefined || graceSeconds >= before || deletionTimestamp === undefined) return pod
  return deleted(pod, Date.parse(deletionTimestamp) - before * 1000, graceSeconds)
}

/** How much of the grace period is left at `nowMs`; never more than the whole of it, whatever the clock says. */
export function graceLeftMs({ metadata }: Pod, nowMs: number): number {
  const { deletionTimestamp = '', deletionGracePeriodSeconds = 0 } = metadata
  const leftMs = Date.parse(deletionTimestamp) - nowMs
  return Math.min(Math.max(0, leftMs || 0), deletionGracePeriodSeconds * 1000)
}
