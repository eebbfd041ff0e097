/**
 * Network namespaces as test hosts. Each is named `polder-t<pid>-<word>`, has its loopback up and IPv6 addresses
 * without duplicate address detection, and goes away with its processes when it is disposed of, when the test process
 * exits, or, if that one was killed, when the next one makes its first namespace.
 *
 *   await using a = await Netns.create('a')
 *   await using b = await Netns.create('b')
 *   await connect(a, 'eth0', b, 'eth0')
 *   await a.run('ip', 'addr', 'add', '192.0.2.1/24', 'dev', 'eth0')
 *
 * Needs root and iproute2. No traffic leaves these namespaces: nothing connects them with the machine's own.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

const PREFIX = 'polder-t'
const TERMINATE_PATIENCE_MS = 2000

export interface Outcome {
  stdout: string
  stderr: string
  code: number
}

/** A long-running process inside a namespace. */
export class NetnsProcess {
  readonly #child: ChildProcess
  readonly #ended: Promise<number>
  stdout = ''
  stderr = ''

  constructor(command: string[]) {
    const [file = '', ...args] = command
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject).once('close', (code) => resolve(code ?? 128))
    })
    this.#ended.catch(() => {})
  }

  /** `ip netns exec` becomes the command it runs, so that this is the command's own. */
  get pid(): number {
    return this.#child.pid!
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** To its standard input. */
  write(text: string): void {
    this.#child.stdin!.write(text)
  }

  /** As `ended`, though what it started may still hold its output. */
  get exited(): Promise<number> {
    if (!this.running) return Promise.resolve(this.#child.exitCode ?? 128)
    return new Promise((resolve) => this.#child.once('exit', (code) => resolve(code ?? 128)))
  }

  /** Resolves to the exit code, 128 after a signal. */
  get ended(): Promise<number> {
    return this.#ended
  }

  /** Asks it to end, then makes it. Resolves to the exit code. */
  async end(): Promise<number> {
    if (this.running) this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), TERMINATE_PATIENCE_MS)
    return this.#ended.finally(() => clearTimeout(timer))
  }

  killNow(): void {
    if (this.running) this.#child.kill('SIGKILL')
  }
}

/** Where programs can be started. */
export interface Place {
  /** What is put before a command to run it there. */
  readonly enter: readonly string[]
}

export class Netns implements Place {
  static readonly #alive = new Set<Netns>()
  static #prepared = false

  readonly name: string
  readonly path: string
  readonly #processes: NetnsProcess[] = []
  #fd = -1

  private constructor(word: string) {
    this.name = `${PREFIX}${process.pid}-${word}`
    this.path = `/run/netns/${this.name}`
  }

  static async create(word: string): Promise<Netns> {
    if (!Netns.#prepared) {
      Netns.#prepared = true
      await removeStale()
      process.once('exit', () => Netns.#removeAllNow())
    }
    const netns = new Netns(word)
    await check(['ip', 'netns', 'add', netns.name])
    Netns.#alive.add(netns)
    try {
      const sysctl = '/proc/sys/net/ipv6/conf'
      const script = `ip link set lo up && for c in all default; do echo 0 > ${sysctl}/$c/accept_dad; done`
      await netns.run('sh', '-c', script)
    } catch (error) {
      await netns[Symbol.asyncDispose]()
      throw error
    }
    return netns
  }

  get enter(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name]
  }

  /** An open file of the namespace, closed with it. */
  get fd(): number {
    if (this.#fd < 0) this.#fd = openSync(this.path, 'r')
    return this.#fd
  }

  /** Runs a command to its end and resolves to its standard output; a failure is an error with all it said. */
  async run(...command: string[]): Promise<string> {
    return (await check(this.#inside(command))).stdout
  }

  /** Runs a command to its end, which may be a failure. */
  async attempt(...command: string[]): Promise<Outcome> {
    return execute(this.#inside(command))
  }

  /** What an `ip -j ...` or similar command prints. */
  async json<T = Record<string, unknown>[]>(...command: string[]): Promise<T> {
    return JSON.parse((await this.run(...command)) || '[]') as T
  }

  /** Starts a long-running command, which ends with the namespace at the latest. */
  spawn(...command: string[]): NetnsProcess {
    const started = new NetnsProcess(this.#inside(command))
    this.#processes.push(started)
    return started
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!Netns.#alive.delete(this)) return
    await Promise.allSettled(this.#processes.map((started) => started.end()))
    this.#close()
    await check(['ip', 'netns', 'delete', this.name])
  }

  static #removeAllNow(): void {
    for (const netns of Netns.#alive) {
      for (const started of netns.#processes) started.killNow()
      spawnSync('ip', ['netns', 'delete', netns.name])
    }
  }

  #close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }

  #inside(command: string[]): string[] {
    return [...this.enter, ...command]
  }
}

/** Joins two namespaces by a veth pair; resolves when both ends are operational and have their link-local addresses. */
export async function connect(a: Netns, nameInA: string, b: Netns, nameInB: string): Promise<void> {
  const ends = ['type', 'veth', 'peer', 'name', nameInB, 'netns', b.name]
  await check(['ip', 'link', 'add', nameInA, 'netns', a.name, ...ends])
  await a.run('ip', 'link', 'set', nameInA, 'up')
  await b.run('ip', 'link', 'set', nameInB, 'up')
  const isUp = async (netns: Netns, name: string) =>
    (await netns.json<{ operstate: string }[]>('ip', '-j', 'link', 'show', name))[0]?.operstate === 'UP'
  await until(async () => (await isUp(a, nameInA)) && (await isUp(b, nameInB)))
}

/** Awaits a condition: resolves to its first truthy value. A throw counts as not yet, and is the cause in the end. */
export async function until<T>(condition: () => T | Promise<T>, timeoutMs = 20_000): Promise<T> {
  const deadline = performance.now() + timeoutMs
  let cause: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${condition}`, { cause })
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Namespaces of test processes that were killed, and whatever these had started in them. */
async function removeStale(): Promise<void> {
  const { stdout } = await check(['ip', 'netns', 'list'])
  for (const line of stdout.split('\n')) {
    const [, name, pid] = /^(polder-t(\d+)-\S+)/.exec(line) ?? []
    if (!name || isAlive(Number(pid))) continue
    const { stdout: pids } = await execute(['ip', 'netns', 'pids', name])
    for (const orphan of pids.split('\n').filter(Boolean)) kill(Number(orphan), 'SIGKILL')
    await execute(['ip', 'netns', 'delete', name])
  }
}

function isAlive(pid: number): boolean {
  return kill(pid, 0)
}

/** False where there is no such process any more. */
function kill(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

async function check(command: string[]): Promise<Outcome> {
  const outcome = await execute(command)
  if (outcome.code === 0) return outcome
  throw new Error(`${command.join(' ')}: exit code ${outcome.code}\n${outcome.stdout}${outcome.stderr}`)
}

function execute(command: string[]): Promise<Outcome> {
  const [file = '', ...args] = command
  return new Promise((resolve, reject) => {
    execFile(file, args, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error)
      else resolve({ stdout, stderr, code: error ? Number(error.code) : 0 })
    })
  })
}
