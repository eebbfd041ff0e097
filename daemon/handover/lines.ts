/** One JSON object a line, both ways, over a connection. */
import readline from 'node:readline'
import type { Duplex } from 'node:stream'

export class Lines {
  readonly #connection: Duplex
  readonly #waiting: ((line: Record<string, unknown> | undefined) => void)[] = []
  readonly #arrived: Record<string, unknown>[] = []
  #ended = false

  constructor(connection: Duplex) {
    this.#connection = connection
    connection.on('error', () => connection.destroy())
    connection.once('close', () => this.#end())
    readline
      .createInterface({ input: connection })
      .on('line', (text) => this.#take(text))
      .once('close', () => this.#end())
  }

  send(message: Record<string, unknown>): void {
    if (!this.#connection.destroyed) this.#connection.write(`${JSON.stringify(message)}\n`)
  }

  /** Undefined once the other end is gone. */
  next(): Promise<Record<string, unknown> | undefined> {
    const line = this.#arrived.shift()
    if (line !== undefined || this.#ended) return Promise.resolve(line)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  end(): void {
    this.#connection.end()
  }

  #take(text: string): void {
    let line: unknown
    try {
      line = JSON.parse(text)
    } catch {
      line = undefined
    }
    if (typeof line !== 'object' || line === null) this.#connection.destroy()
    else if (this.#waiting.length > 0) this.#waiting.shift()!(line as Record<string, unknown>)
    else this.#arrived.push(line as Record<string, unknown>)
  }

  #end(): void {
    this.#ended = true
    for (const resolve of this.#waiting.splice(0)) resolve(undefined)
  }
}
