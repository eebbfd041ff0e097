/**
 * Waits until a deleted pod has ended, and, if this is its node, until that holds nothing of it: no sandbox in its runtime,
 * no attachment. Deleting the object only starts that; the runner does it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { nodeOf, type Pod } from '../cluster/objects.ts'
import type { PodRuntime } from '../runner/pod-runtime.ts'
import type { ApiContext } from './context.ts'

const POLL_MS = 50

interface Held {
  namespace: string
  name: string
  uid?: string
}

/** Resolves to false when the time was up, or the client gone, before the pod was. */
export async function waitUntilGone(
  context: ApiContext,
  pod: Pod,
  seconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadlineMs = performance.now() + seconds * 1000
  while (await isHeld(context, pod)) {
    if (signal.aborted || performance.now() >= deadlineMs) return false
    await delay(POLL_MS)
  }
  return true
}

async function isHeld(context: ApiContext, pod: Pod): Promise<boolean> {
  const { uid, namespace } = pod.metadata
  const isEnding = ({ metadata }: Pod) => metadata.deletionTimestamp !== undefined && metadata.uid === uid
  if (context.store.list('Pod', namespace).some(isEnding)) return true
  if (nodeOf(pod) !== context.info().name) return false
  if (context.attachments.list().some((attachment) => attachment.pod !== undefined && isSame(attachment.pod, pod))) {
    return true
  }
  const runtime = context.runtimeFor(pod)
  return runtime !== undefined && (await listOnce(runtime)).some((held) => isSame(held, pod))
}

/** The very pod, not a later one of the same name, where both sides know the uid. */
function isSame(held: Held, pod: Pod): boolean {
  const { namespace, name, uid } = pod.metadata
  if (held.namespace !== namespace || held.name !== name) return false
  return held.uid === undefined || uid === undefined || held.uid === uid
}

const listings = new WeakMap<PodRuntime, Promise<Held[]>>()

/** Many pods deleted at once ask the runtime one question at a time, not each its own. */
function listOnce(runtime: PodRuntime): Promise<Held[]> {
  const running = listings.get(runtime)
  if (running !== undefined) return running
  const listing = runtime.list().finally(() => listings.delete(runtime))
  listings.set(runtime, listing)
  return listing
}
