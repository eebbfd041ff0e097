/**
 * A pod runtime without containers, for tests of what stands before it (API, CLI): a pod's command is a process of this
 * machine, and its log is a file. Real processes, real pipes; no isolation, no network.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { ExecRequest } from '../../daemon/api/types.ts'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { ExecStreams, HeldPod, LogOptions, PodRuntime } from '../../daemon/runner/pod-runtime.ts'

export class LocalRuntime implements PodRuntime {
  /** Logs lie here as NAMESPACE.NAME.CONTAINER. */
  readonly logFolder: string
  /** What `list` answers: the test decides when a pod is gone. */
  readonly held: HeldPod[] = []
  /** Every terminal size that arrived, in order. */
  readonly sizes: { columns: number; rows: number }[] = []
  /** Processes of exec that have not ended. */
  readonly running = new Set<number>()

  constructor(logFolder: string) {
    this.logFolder = logFolder
  }

  async ensure(): Promise<PodStatus> {
    return { phase: 'Running' }
  }

  async terminate(): Promise<void> {}

  async remove(): Promise<void> {}

  async list(): Promise<HeldPod[]> {
    return this.held
  }

  async exec(pod: Pod, request: ExecRequest, streams: ExecStreams): Promise<number> {
    const [file, ...args] = request.command
    streams.onResize((size) => this.sizes.push(size))
    const child = spawn(file!, args, {
      env: { ...process.env, POD: pod.metadata.name, CONTAINER: request.container, TTY: String(request.tty) },
    })
    const failed = once(child, 'error').then(([error]) => {
      throw new PolderError('exec-failed', `Cannot run ${file}: ${error.message}`, 'Check the command.')
    })
    if (child.pid !== undefined) this.running.add(child.pid)
    streams.stdin.pipe(child.stdin)
    child.stdin.on('error', () => {})
    child.stdout.pipe(streams.stdout)
    child.stderr.pipe(streams.stderr)
    // A stream that ended is a command that closed its output, on its way to its own end; one that did not, a client gone.
    streams.stdout.once('close', () => {
      if (!streams.stdout.writableFinished) child.kill()
    })
    const ended = once(child, 'close').then(([code, signal]) => (signal === null ? code : 128 + 15))
    try {
      return await Promise.race([ended, failed])
    } finally {
      this.running.delete(child.pid!)
    }
  }

  async logs(pod: Pod, options: LogOptions, out: Writable): Promise<void> {
    const { namespace, name } = pod.metadata
    const file = path.join(this.logFolder, `${namespace}.${name}.${options.container}`)
    if (!existsSync(file)) throw new PolderError('no-log', `${name} has written nothing yet.`, 'Try again later.')
    const text = readFileSync(file, 'utf8')
    const lines = text.split(/(?<=\n)/)
    const wanted = options.tail === undefined ? lines : lines.slice(lines.length - options.tail)
    out.write(wanted.map((line) => (options.timestamps ? `2026-01-31T12:00:00Z ${line}` : line)).join(''))
    let length = text.length
    while (options.follow && !out.destroyed) {
      await delay(10)
      const now = readFileSync(file, 'utf8')
      if (now.length > length) out.write(now.slice(length))
      length = now.length
      if (now.endsWith('BREAK\n')) throw new Error('the log file is gone')
    }
  }
}
