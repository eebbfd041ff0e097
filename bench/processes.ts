/**
 * The programs a bench runs: to their end, or in the background, in any network namespace. What still runs when this
 * process ends, however it ends, is killed with it.
 *
 * Namespaces are entered with nsenter, which becomes the program it starts: `ip netns exec` would also change /sys.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

const TERMINATE_PATIENCE_MS = 5000

/** Neither the user's language nor the machine's proxies may matter. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' }

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** The command line that runs `command` in a namespace. */
export function inside(netns: string, command: readonly string[]): string[] {
  return ['nsenter', `--net=/run/netns/${netns}`, '--', ...command]
}

/** Runs a program to its end; its standard output. A failure is an error with all it said. */
export async function run(command: readonly string[], stdin = ''): Promise<string> {
  const child = launch(command)
  // A program that ends without reading closes the pipe early.
  child.stdin!.on('error', () => {}).end(stdin)
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')])
  if (child.exitCode === 0) return stdout
  const how = child.signalCode ?? `exit code ${child.exitCode}`
  throw new Error(`${shorten(command)}: ${how}\n${stdout}${stderr}`.trimEnd())
}

/** A program in the background. */
export class Background {
  readonly #child: ChildProcess
  readonly #command: readonly string[]
  readonly #closed: Promise<unknown>
  #said = ''

  constructor(command: readonly string[]) {
    this.#command = command
    this.#child = launch(command)
    this.#child.stdin!.on('error', () => {}).end()
    this.#closed = once(this.#child, 'close')
    this.#closed.catch(() => {})
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (words: string) => (this.#said += words))
    }
  }

  /** With nsenter, the program's own. */
  get pid(): number {
    return this.#child.pid!
  }

  /** Everything it has written so far. */
  get said(): string {
    return this.#said
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** Resolves once it has said this; throws where it ends before. */
  async untilSays(words: string): Promise<void> {
    while (!this.#said.includes(words)) {
      if (this.ended) throw new Error(`${shorten(this.#command)} ended before it said '${words}'\n${this.#said}`)
      await Promise.race([once(this.#child.stdout!, 'data'), this.#closed])
    }
  }

  /** Resolves to all it has said, when it has ended by itself and well. */
  async result(): Promise<string> {
    await this.#closed
    if (this.#child.exitCode === 0) return this.#said
    throw new Error(
      `${shorten(this.#command)}: ${this.#child.signalCode ?? `exit code ${this.#child.exitCode}`}\n${this.#said}`,
    )
  }

  /** Asks it to end, then makes it. */
  async end(): Promise<void> {
    if (!this.ended) this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), TERMINATE_PATIENCE_MS)
    await this.#closed.finally(() => clearTimeout(timer))
  }
}

/** Processes in a namespace, whoever started them. */
export async function pidsIn(netns: string): Promise<number[]> {
  const listed = await run(['ip', 'netns', 'pids', netns])
  return listed.split('\n').filter(Boolean).map(Number)
}

function launch(command: readonly string[]): ChildProcess {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], env: ENVIRONMENT })
  running.add(child)
  child.once('close', () => running.delete(child))
  return child
}

/** Errors are read by people: a hundred namespaces in a command line say nothing. */
function shorten(command: readonly string[]): string {
  const line = command.join(' ')
  return line.length < 200 ? line : `${line.slice(0, 200)}…`
}
