/** Whether a polderd answers on its socket: some work is only safe, or only makes sense, without one. */
import net from 'node:net'
import { PolderError } from '../errors.ts'

export async function refuseWhileRunning(socket: string, remedy: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const probe = net.connect(socket)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (!answers) return
  throw new PolderError('already-running', `A polderd answers on ${socket}.`, remedy)
}
