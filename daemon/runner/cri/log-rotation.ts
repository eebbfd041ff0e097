/**
 * Keeps containers' logs from filling the disk: one that has grown too long is renamed to NAME.log.1, over the one that
 * had this name, and containerd is told to begin a new one. So a container has at most two of LOG_BYTES_MAX, and what it
 * writes between two looks.
 *
 * It looks at sizes, and asks containerd only where a log is due. Killed between the renaming and the telling, the
 * next look finds a NAME.log.1 without its NAME.log and goes on from there.
 */
import { readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CONTAINER_RUNNING, type ContainerdClient } from './client.ts'
import { LABEL_RUNNER } from './pod-config.ts'

export const LOG_BYTES_MAX = 10 * 2 ** 20

/** What a log was before the present one. */
export function rotatedPath(path: string): string {
  return `${path}.1`
}

/** Of polder's own containers. A failure of one is thrown when all were tried. */
export async function rotateLogs(client: ContainerdClient, logRoot: string, bytesMax: number): Promise<void> {
  const due = await dueLogs(logRoot, bytesMax)
  if (due.size === 0) return
  const filter = { label_selector: { [LABEL_RUNNER]: 'true' } }
  const { containers } = await client.call('runtime.ListContainers', { filter })
  const results = await Promise.allSettled(
    containers.map(async ({ id }) => {
      const { status } = await client.call('runtime.ContainerStatus', { container_id: id })
      if (due.has(status.log_path)) await rotate(client, id, status.state === CONTAINER_RUNNING, status.log_path)
    }),
  )
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Too long, or renamed and not begun anew. */
async function dueLogs(logRoot: string, bytesMax: number): Promise<Set<string>> {
  const due = new Set<string>()
  for (const pod of await namesIn(logRoot)) {
    for (const container of await namesIn(join(logRoot, pod))) {
      const folder = join(logRoot, pod, container)
      const names = await namesIn(folder)
      for (const name of names) {
        const path = join(folder, name.replace(/\.1$/, ''))
        const isOrphan = name.endsWith('.log.1') && !names.includes(name.slice(0, -2))
        const isLong = name.endsWith('.log') && ((await stat(path).catch(() => undefined))?.size ?? 0) > bytesMax
        if (isOrphan || isLong) due.add(path)
      }
    }
  }
  return due
}

async function rotate(client: ContainerdClient, id: string, isRunning: boolean, path: string): Promise<void> {
  const isThere = (await stat(path).catch(() => undefined)) !== undefined
  if (!isRunning) {
    // It grows no more; only where its last rotation was cut short, its log is to be found again.
    if (!isThere) await rename(rotatedPath(path), path)
    return
  }
  if (isThere) await rename(path, rotatedPath(path))
  await client.call('runtime.ReopenContainerLog', { container_id: id })
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => [])
}
