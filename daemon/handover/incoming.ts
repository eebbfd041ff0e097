/** The new polderd's side of a takeover: see takeover.ts. */
import http from 'node:http'
import type { Config } from '../config/config.ts'
import { PolderError } from '../errors.ts'
import { Lines } from './lines.ts'
import { helloOf, type Loan, type Refusal, TAKEOVER_PATH, TAKEOVER_UPGRADE } from './takeover.ts'

export class Predecessor {
  readonly loan: Loan
  readonly #lines: Lines

  private constructor(lines: Lines, loan: Loan) {
    this.#lines = lines
    this.loan = loan
  }

  /** Resolves when the running polderd has paused all but its data path. `service`: our NOTIFY_SOCKET. */
  static async meet(config: Config, service: string | undefined): Promise<Predecessor> {
    const lines = await connect(config.socket)
    lines.send({ ...helloOf(config, service) })
    const answer = await lines.next()
    const refused = answer?.['refused'] as Refusal | undefined
    if (refused !== undefined) throw new PolderError(refused.code, refused.message, refused.remedy)
    if (typeof answer?.['descriptors'] !== 'string') throw ended()
    return new Predecessor(lines, answer as unknown as Loan)
  }

  /** Its data path has stopped, and waits for our last word: now ours may begin. */
  async hold(): Promise<void> {
    this.#lines.send({ hold: true })
    if ((await this.#lines.next())?.['held'] !== true) throw ended()
  }

  /** The last word. Resolves when it has been read. */
  async done(): Promise<void> {
    this.#lines.send({ done: true })
    await this.#lines.next()
    this.#lines.end()
  }
}

/** Which it does by dying, too: then there is nothing to take over any more. */
function ended(): PolderError {
  return new PolderError(
    'takeover-failed',
    'the running polderd broke the takeover off',
    'See its log; where it does not run any more, start polderd.',
  )
}

/** To the polderd that answers on `socket`; it waits for a hello. */
export function connect(socket: string): Promise<Lines> {
  const headers = { Connection: 'Upgrade', Upgrade: TAKEOVER_UPGRADE }
  const request = http.request({ socketPath: socket, method: 'POST', path: TAKEOVER_PATH, headers, agent: false })
  return new Promise((resolve, reject) => {
    request.once('upgrade', (_, connection, head) => {
      if (head.length > 0) connection.unshift(head)
      resolve(new Lines(connection))
    })
    request.once('response', (response) => {
      response.resume()
      const message = `what answers on ${socket} knows no takeover`
      reject(new PolderError('takeover-refused', message, 'Restart it instead: packets wait meanwhile.'))
    })
    request.once('error', (error: NodeJS.ErrnoException) => {
      const message = `no polderd runs that could be taken over (${socket}: ${error.code})`
      reject(new PolderError('not-running', message, 'Start polderd without --takeover.'))
    })
    request.end()
  })
}
