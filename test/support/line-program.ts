/**
 * A program in some namespace that says "ready" and then answers each line of its stdin with one line, in order. At the end
 * of its stdin it ends, so it never outlives the test process.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { Place } from './netns.ts'

interface Waiting {
  resolve: (line: string) => void
  reject: (error: Error) => void
}

export class LineProgram {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #waiting: Waiting[] = []
  readonly #closed: Promise<unknown>
  #ended = false
  #stderr = ''

  private constructor(place: Place, command: (string | number)[]) {
    const [program = '', ...words] = [...place.enter, ...command.map(String)]
    this.#child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
    // What is written to one that has just ended is answered by its end.
    this.#child.stdin.on('error', () => undefined)
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#waiting.shift()?.resolve(line))
    this.#closed = once(this.#child, 'close').then(() => {
      this.#ended = true
      for (const { reject } of this.#waiting) reject(this.#failure())
    })
  }

  /** Resolves once it is ready. */
  static async start(place: Place, ...command: (string | number)[]): Promise<LineProgram> {
    const program = new LineProgram(place, command)
    await program.#next()
    return program
  }

  ask(line: string): Promise<string> {
    const answer = this.#next()
    this.#child.stdin.write(`${line}\n`)
    return answer
  }

  /** Ends its stdin; resolves to the line that it says then. */
  finish(): Promise<string> {
    const last = this.#next()
    this.#child.stdin.end()
    return last
  }

  /** Ends it at once, if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }

  #next(): Promise<string> {
    if (this.#ended) return Promise.reject(this.#failure())
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  #failure(): Error {
    return new Error(`${this.#child.spawnargs.join(' ')} has ended: ${this.#stderr}`)
  }
}
