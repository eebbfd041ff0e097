/**
 * One `lab up` or `lab down` at a time for each lab. The lock is an abstract Unix socket: it goes with the process,
 * however that ends.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { PolderError } from '../../daemon/errors.ts'
import type { Lab } from './lab.ts'

export async function withLock<T>(lab: Lab, work: () => Promise<T>): Promise<T> {
  const server = createServer()
  try {
    await once(server.listen(`\0polder-lab-${lab.name}`), 'listening')
  } catch {
    throw new PolderError(
      'lab-busy',
      `Another polder lab up or down works on the lab "${lab.name}".`,
      'Wait for it to end, then try again.',
    )
  }
  try {
    return await work()
  } finally {
    server.close()
  }
}
