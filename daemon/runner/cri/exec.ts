/**
 * Runs one more command in a running container, by containerd's own tasks API with named pipes.
 *
 * Why not the CRI's Exec: it answers with the URL of a streaming server that speaks SPDY or WebSocket, and over the
 * WebSocket protocols that containerd 1.6 and 1.7 know, the end of standard input cannot be said (`cat` would never
 * end). Why not `ctr tasks exec`: it knows no terminal size but its own terminal's. The tasks API has all of it: the
 * shim copies between the process and three named pipes, CloseIO ends its input, ResizePty resizes, Wait gives the exit
 * code. containerd, its shims and polderd see the pipes under the same path: they share a mount namespace.
 *
 * The command runs with the container's own user, environment, capabilities and limits, taken from its OCI spec.
 */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { constants, openSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import type { ExecRequest } from '../../api/types.ts'
import { PolderError } from '../../errors.ts'
import type { ExecStreams } from '../pod-runtime.ts'
import type { ContainerdClient, ProcessId } from './client.ts'

const PROCESS_SPEC_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process'
const SIGKILL = 9
/** The client's first terminal size comes right behind its request: worth a moment, programs look at their start. */
const FIRST_SIZE_PATIENCE_MS = 200
/** How long output may stay silent after the end before it counts as over: a child may keep it open for ever. */
const SILENCE_MS = 1000
/** What is kept of the output of a command that runs for its exit code. */
const OUTPUT_LENGTH_MAX = 512

/** Resolves to the exit code once all output is delivered; a client that goes away kills the command. */
export async function execInContainer(
  client: ContainerdClient,
  execDir: string,
  containerId: string,
  request: ExecRequest,
  streams: ExecStreams,
): Promise<number> {
  const id: ProcessId = { container_id: containerId, exec_id: `polder-${randomUUID()}` }
  const tty = request.tty === true
  const pipes = await openPipes(`${execDir}/${id.exec_id}`, { stdin: request.stdin === true, stderr: !tty })
  const resize = watchSize(client, id, streams)
  let created = false
  try {
    const spec = await processSpec(client, containerId, request, tty ? await resize.first() : undefined)
    await client.call('tasks.Exec', { ...id, ...pipes.paths, terminal: tty, spec })
    created = true
    const exit = client.call('tasks.Wait', id, { timeoutMs: Infinity })
    exit.catch(() => {})
    await start(client, id, request)
    resize.started()
    const onGone = () => void client.call('tasks.Kill', { ...id, signal: SIGKILL }).catch(() => {})
    if (streams.stdout.destroyed) onGone()
    streams.stdout.once('close', onGone)
    const outputs = [
      deliver(pipes.stdout, streams.stdout),
      ...(pipes.stderr ? [deliver(pipes.stderr, streams.stderr)] : []),
    ]
    const closeInput = () => client.call('tasks.CloseIO', { ...id, stdin: true })
    if (pipes.stdin !== undefined) feed(streams, pipes.stdin, closeInput).catch(() => {})
    const { exit_status } = await exit
    streams.stdout.off('close', onGone)
    await Promise.all(outputs.map((output) => output.finish()))
    return exit_status
  } finally {
    resize.stop()
    pipes.close()
    if (created) await client.call('tasks.DeleteProcess', id).catch(() => {})
    await rm(pipes.folder, { recursive: true, force: true })
  }
}

/**
 * Runs a command for its exit code and the beginning of what it says; one that takes longer is killed, and has none.
 */
export async function execForOutput(
  client: ContainerdClient,
  execDir: string,
  containerId: string,
  command: string[],
  timeoutMs: number,
): Promise<{ exitCode: number | undefined; output: string }> {
  let output = ''
  const keep = () =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        if (output.length < OUTPUT_LENGTH_MAX) output = (output + chunk.toString()).slice(0, OUTPUT_LENGTH_MAX)
        done()
      },
    })
  const streams: ExecStreams = { stdin: Readable.from([]), stdout: keep(), stderr: keep(), onResize: () => {} }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      streams.stdout.destroy()
      streams.stderr.destroy()
      resolve(undefined)
    }, timeoutMs)
  })
  try {
    const exit = execInContainer(client, execDir, containerId, { command }, streams)
    // Nobody waits any more for one that is late.
    exit.catch(() => {})
    return { exitCode: await Promise.race([exit, late]), output }
  } finally {
    clearTimeout(timer)
  }
}

async function start(client: ContainerdClient, id: ProcessId, request: ExecRequest): Promise<void> {
  await client.call('tasks.Start', id).catch((error: Error) => {
    throw new PolderError(
      'exec-failed',
      `${request.command[0]} cannot be run in the container: ${error.message}`,
      'Check that the image has the command: try /bin/sh or /bin/bash.',
    )
  })
}

async function processSpec(client: ContainerdClient, containerId: string, request: ExecRequest, size?: TerminalSize) {
  const { container } = await client.call('containers.Get', { id: containerId })
  const spec = JSON.parse(container.spec.value.toString('utf8')) as { process: { env?: string[] } }
  const env = spec.process.env ?? []
  const process = {
    ...spec.process,
    args: request.command,
    terminal: request.tty === true,
    env: request.tty === true && !env.some((entry) => entry.startsWith('TERM=')) ? [...env, 'TERM=xterm'] : env,
    ...(size === undefined ? {} : { consoleSize: { width: size.columns, height: size.rows } }),
  }
  return { type_url: PROCESS_SPEC_TYPE, value: Buffer.from(JSON.stringify(process)) }
}

interface Pipes {
  folder: string
  paths: { stdin: string; stdout: string; stderr: string }
  stdin?: Socket
  stdout: Socket
  stderr?: Socket
  close(): void
}

/** Opening a named pipe waits for the other end, but not with O_NONBLOCK for reading, nor with O_RDWR for writing. */
async function openPipes(folder: string, wanted: { stdin: boolean; stderr: boolean }): Promise<Pipes> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = (name: string, use: boolean) => (use ? `${folder}/${name}` : '')
  const paths = {
    stdin: path('stdin', wanted.stdin),
    stdout: path('stdout', true),
    stderr: path('stderr', wanted.stderr),
  }
  await promisify(execFile)('mkfifo', ['-m', '600', ...Object.values(paths).filter((name) => name !== '')])
  const reader = (name: string) =>
    new Socket({ fd: openSync(name, constants.O_RDONLY | constants.O_NONBLOCK), readable: true, writable: false })
  const pipes: Pipes = {
    folder,
    paths,
    stdout: reader(paths.stdout),
    close: () => {
      for (const socket of [pipes.stdin, pipes.stdout, pipes.stderr]) socket?.destroy()
    },
  }
  if (wanted.stderr) pipes.stderr = reader(paths.stderr)
  if (wanted.stdin) {
    const fd = openSync(paths.stdin, constants.O_RDWR | constants.O_NONBLOCK)
    pipes.stdin = new Socket({ fd, readable: false, writable: true })
  }
  return pipes
}

/** Copies what the process writes; `finish` resolves at its end of file, or when it has nothing more to say. */
function deliver(from: Socket, to: Writable): { finish(): Promise<void> } {
  let lastMs = performance.now()
  from.on('data', (chunk: Buffer) => {
    lastMs = performance.now()
    if (to.destroyed || to.write(chunk)) return
    from.pause()
    to.once('drain', () => {
      lastMs = performance.now()
      from.resume()
    })
  })
  from.on('error', () => from.destroy())
  const ended = new Promise<void>((resolve) => from.once('close', () => resolve()))
  return {
    finish: async () => {
      while (!from.destroyed && !to.destroyed) {
        if (!from.isPaused() && performance.now() - lastMs > SILENCE_MS) return
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, SILENCE_MS / 10))])
      }
    },
  }
}

/** Copies the client's input, then tells the shim its end: it holds the pipe open itself until CloseIO. */
async function feed(streams: ExecStreams, to: Socket, closeInput: () => Promise<unknown>): Promise<void> {
  // A command that ended reads no more: what still comes is let go.
  to.on('error', () => to.destroy())
  for await (const chunk of streams.stdin) {
    if (to.destroyed) return
    if (!to.write(chunk)) await Promise.race([once(to, 'drain'), once(to, 'close')])
  }
  await new Promise((resolve) => to.write('', resolve))
  // Our end closes before the shim's: it reads what is left, then the end of file.
  to.destroy()
  await closeInput()
}

interface TerminalSize {
  columns: number
  rows: number
}

/** Sizes that come before the process runs are kept for its start. */
function watchSize(client: ContainerdClient, id: ProcessId, streams: ExecStreams) {
  let size: TerminalSize | undefined
  let running = false
  const arrived = Promise.withResolvers<void>()
  const send = () => {
    if (!running || size === undefined) return
    void client.call('tasks.ResizePty', { ...id, width: size.columns, height: size.rows }).catch(() => {})
  }
  streams.onResize((next) => {
    size = next
    arrived.resolve()
    send()
  })
  return {
    first: async () => {
      await Promise.race([arrived.promise, new Promise((resolve) => setTimeout(resolve, FIRST_SIZE_PATIENCE_MS))])
      return size
    },
    started: () => {
      running = true
      send()
    },
    stop: () => {
      running = false
    },
  }
}
