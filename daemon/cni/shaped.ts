/** JSON that came from outside, checked against a schema: what is wrong with it becomes code 7, with its place. */
import type { z } from 'zod'
import { CniError, INVALID_NETWORK_CONFIG } from './cni-error.ts'

/** `name` is where `value` stands in the network configuration; empty for the whole. */
export function shaped<T>(schema: z.ZodType<T>, value: unknown, name = ''): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map((issue) => {
    const place = [name, ...issue.path].filter((part) => part !== '').join('.')
    return `${place}: ${issue.message}`
  })
  throw new CniError(
    INVALID_NETWORK_CONFIG,
    `invalid network configuration: ${faults.join('; ')}`,
    'see /etc/cni/net.d: polderd writes a right one as 10-polder.conflist',
  )
}
