/** A lab is made of namespaces, mounts and devices: only root may make those. */
import { PolderError } from '../../daemon/errors.ts'

export function requireRoot(command: string): void {
  if (process.getuid?.() === 0) return
  throw new PolderError(
    'not-root',
    `'${command}' makes namespaces and mounts, which only root may do`,
    `run: sudo ./scripts/${command}`,
  )
}
