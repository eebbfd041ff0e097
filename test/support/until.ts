/** Awaits a condition: long enough for a busy machine, and soon after it holds. */
import { vi } from 'vitest'

export async function until(condition: () => boolean): Promise<void> {
  await vi.waitUntil(condition, { timeout: 20_000, interval: 10 })
}
