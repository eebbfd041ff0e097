/**
 * A target in C: built with sanitizers and coverage into build/fuzz (test/fuzz/c/harness.c has the protocol), run as a
 * process of its own. It tells by itself whether an input took an edge that none took before. If it dies, what it said
 * is the error, and the next input gets a new process.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../../..')
const ANSWER_BYTES = 4
/** What has not answered by then never will. */
const PATIENCE_MS = 5000
const SANITIZED = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer']
const GCC = ['-std=gnu11', '-O1', '-g', '-Wall', '-Wextra', '-Werror', ...SANITIZED]

export interface Sources {
  name: string
  /** Beside test/fuzz/c/NAME.c, from the checkout's root. */
  sources?: readonly string[]
  flags?: readonly string[]
}

/** Answers the path of the program. */
export function build({ name, sources = [], flags = [] }: Sources): string {
  const folder = join(ROOT, 'build/fuzz')
  const program = join(folder, `${name}-${process.pid}`)
  const harness = `${program}.o`
  mkdirSync(folder, { recursive: true })
  const gcc = (...words: string[]) => execFileSync('gcc', [...GCC, ...words], { cwd: ROOT, stdio: 'pipe' })
  gcc('-c', '-o', harness, 'test/fuzz/c/harness.c')
  gcc('-fsanitize-coverage=trace-pc', ...flags, '-o', program, harness, `test/fuzz/c/${name}.c`, ...sources)
  return program
}

/** Where the headers of Node lie, which the addon's files include. */
export function nodeHeaders(): string {
  const packages = readdirSync(join(ROOT, 'node_modules')).filter((name) => name.startsWith('node-linux-'))
  return `-Inode_modules/${packages[0]}/include/node`
}

export class Program {
  readonly #path: string
  #child: ChildProcessWithoutNullStreams | undefined
  #answered: ((fresh: number | undefined) => void) | undefined
  #told = Buffer.alloc(0)
  #complaint = ''
  #edges = 0

  constructor(path: string) {
    this.#path = path
  }

  async run(input: Uint8Array): Promise<string> {
    this.#child ??= this.#start()
    const child = this.#child
    const head = Buffer.alloc(4)
    head.writeUInt32LE(input.length)
    const hung = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
    const fresh = await new Promise<number | undefined>((resolve) => {
      this.#answered = resolve
      child.stdin.write(Buffer.concat([head, input]))
    })
    clearTimeout(hung)
    if (fresh === undefined) throw new Error(summary(this.#complaint || `ended by ${child.signalCode}`))
    this.#edges += fresh
    return fresh > 0 ? `${this.#edges} edges` : ''
  }

  async end(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    this.#edges = 0
    if (child === undefined) return
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.stdin.end()
    await ended
  }

  #start(): ChildProcessWithoutNullStreams {
    const env = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' }
    const child = spawn(this.#path, [], { stdio: 'pipe', env })
    this.#told = Buffer.alloc(0)
    this.#complaint = ''
    child.stdin.on('error', () => {})
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#complaint += text))
    child.stdout.on('data', (bytes: Buffer) => {
      this.#told = Buffer.concat([this.#told, bytes])
      if (this.#told.length < ANSWER_BYTES) return
      const fresh = this.#told.readUInt32LE()
      this.#told = this.#told.subarray(ANSWER_BYTES)
      this.#answered?.(fresh)
    })
    child.once('close', () => {
      if (this.#child !== child) return
      this.#child = undefined
      this.#answered?.(undefined)
    })
    return child
  }
}

/** The sanitizer's first line, and where in our code: enough to tell one finding from another. */
function summary(complaint: string): string {
  const what = /ERROR: [^\n]*|runtime error: [^\n]*/.exec(complaint)?.[0] ?? complaint.slice(0, 300)
  const frames = [...complaint.matchAll(/^ +#\d+ .* in (\S+ \S+)/gm)].map(([, frame]) => frame!)
  const own = frames.filter((frame) => /\.[ch]:/.test(frame)).slice(0, 4)
  return [what, ...own.map((frame) => `    at ${frame}`)].join('\n')
}
