/** A lab is made of namespaces, mounts and devices: only root may make those. */
import { PolderError } from '../../daemon/errors.ts'

export function requireRoot(command: string): void {
  if (process.getuid?.() === 0) return
  throw new PolderError(
    'not-root',
    `Only root may run ${command}: it works with namespaces and mounts.`,
    `Run: sudo ${command}`,
  )
}
