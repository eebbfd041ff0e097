/**
 * What containerd holds of polder's pods: sandboxes and containers found by their labels, so that nothing has to be
 * remembered over a restart of polderd.
 */
import type { HeldPod } from '../pod-runtime.ts'
import type { Container, ContainerdClient, Sandbox } from './client.ts'
import { LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID, LABEL_RUNNER } from './pod-config.ts'

export interface PodRecord {
  /** Newest first. */
  sandboxes: Sandbox[]
  /** Newest first. */
  containers: Container[]
}

export async function findPod(client: ContainerdClient, namespace: string, name: string): Promise<PodRecord> {
  return await query(client, { [LABEL_POD_NAMESPACE]: namespace, [LABEL_POD_NAME]: name })
}

/** Two calls, however many pods there are. */
export async function listPods(client: ContainerdClient): Promise<HeldPod[]> {
  const record = await query(client, {})
  const pods = new Map<string, HeldPod>()
  for (const item of [...record.sandboxes, ...record.containers]) {
    const namespace = item.labels[LABEL_POD_NAMESPACE]!
    const name = item.labels[LABEL_POD_NAME]!
    const key = `${namespace}/${name}`
    const held = pods.get(key) ?? { namespace, name, uid: item.labels[LABEL_POD_UID]!, fingerprint: '' }
    held.fingerprint += `${item.id} ${item.state},`
    pods.set(key, held)
  }
  return [...pods.values()]
}

/** The container of this name to show, to log and to execute in: the newest. */
export function newestContainer(record: PodRecord, name: string): Container | undefined {
  return record.containers.find((container) => container.metadata.name === name)
}

async function query(client: ContainerdClient, labels: Record<string, string>): Promise<PodRecord> {
  const filter = { label_selector: { ...labels, [LABEL_RUNNER]: 'true' } }
  const [sandboxes, containers] = await Promise.all([
    client.call('runtime.ListPodSandbox', { filter }),
    client.call('runtime.ListContainers', { filter }),
  ])
  return { sandboxes: sandboxes.items.sort(newestFirst), containers: containers.containers.sort(newestFirst) }
}

function newestFirst(a: { created_at: string; id: string }, b: { created_at: string; id: string }): number {
  const difference = BigInt(b.created_at) - BigInt(a.created_at)
  if (difference !== 0n) return difference > 0n ? 1 : -1
  return a.id < b.id ? -1 : 1
}
