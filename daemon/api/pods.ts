/**
 * What is done to a running pod: its log as a stream, and commands in it over an upgraded connection (exec-frames.ts).
 * Both only on the pod's own node; another node says which one that is.
 *
 * When the client goes away, `stdin` ends and the output streams are destroyed: a runtime ends the command on the
 * 'close' of `stdout`, and a followed log on the 'close' of its `out`.
 */
import { once } from 'node:events'
import { type Duplex, PassThrough, Writable } from 'node:stream'
import { z } from 'zod'
import { nodeOf, type Pod } from '../cluster/objects.ts'
import { PolderError } from '../errors.ts'
import type { ExecStreams, PodRuntime } from '../runner/pod-runtime.ts'
import type { ApiContext } from './context.ts'
import { answerError, invalid } from './errors.ts'
import { decodeFrames, encodeFrame, encodeFrames, type Frame } from './exec-frames.ts'
import { requireObject } from './objects.ts'
import { type ApiRequest, queryCount, queryFlag } from './request.ts'
import { EXEC_EXIT, EXEC_RESIZE, EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT, type ExecRequest } from './types.ts'

const LOG_TAIL_MAX = 1_000_000_000

const execRequestSchema = z.strictObject({
  container: z.string().min(1).optional(),
  command: z.array(z.string()).min(1, 'the command is empty'),
  tty: z.boolean().optional(),
  stdin: z.boolean().optional(),
})

const terminalSizeSchema = z.object({
  columns: z.int().min(0).max(0xffff),
  rows: z.int().min(0).max(0xffff),
})

export async function streamLog(context: ApiContext, request: ApiRequest): Promise<void> {
  const { query, response } = request
  const tail = queryCount(query, 'tail', LOG_TAIL_MAX)
  const follow = queryFlag(query, 'follow')
  const timestamps = queryFlag(query, 'timestamps')
  const { pod, runtime } = localPod(context, request)
  const container = containerOf(pod, query.get('container') ?? undefined)
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  await runtime.logs(pod, { ...container, follow, timestamps, ...(tail === undefined ? {} : { tail }) }, response)
  if (!response.writableEnded) response.end()
}

export async function execInPod(context: ApiContext, request: ApiRequest): Promise<void> {
  const { upgraded, message } = request
  if (upgraded === undefined || message.headers.upgrade?.toLowerCase() !== 'polder-exec') {
    throw new PolderError(
      'upgrade-required',
      'exec needs a connection that is upgraded to polder-exec.',
      'Send "Connection: Upgrade" and "Upgrade: polder-exec", or use: polder exec POD -- COMMAND',
    )
  }
  const exec = execRequestOf(request.query)
  const { pod, runtime } = localPod(context, request)
  const container = containerOf(pod, exec.container)
  upgraded.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: polder-exec\r\n\r\n')
  await converse(context, upgraded, (streams) => runtime.exec(pod, { ...exec, ...container }, streams), exec)
}

function execRequestOf(query: URLSearchParams): ExecRequest {
  const remedy = 'The query value `request` is an ExecRequest as JSON, for example {"command":["ls","-l"]}.'
  let value: unknown
  try {
    value = JSON.parse(query.get('request') ?? '')
  } catch {
    throw invalid('The exec request is not JSON.', remedy)
  }
  const parsed = execRequestSchema.safeParse(value)
  if (parsed.success) {
    const { command, container, tty, stdin } = parsed.data
    return { command, tty: tty ?? false, stdin: stdin ?? false, ...(container === undefined ? {} : { container }) }
  }
  const issue = parsed.error.issues[0]!
  throw invalid(`The exec request is wrong at ${issue.path.join('.') || 'its top'}: ${issue.message}.`, remedy)
}

function localPod(context: ApiContext, request: ApiRequest): { pod: Pod; runtime: PodRuntime } {
  const name = request.params['name']!
  const namespace = request.params['namespace']!
  const pod = requireObject(context, { kind: 'Pod', name, namespace }) as Pod
  const nodeName = nodeOf(pod)
  if (nodeName === undefined) {
    throw new PolderError(
      'not-ready',
      `Pod "${name}" is not on any node yet.`,
      `See what it waits for: polder describe pod ${name} -n ${namespace}`,
    )
  }
  if (nodeName !== context.info().name) {
    throw new PolderError(
      'wrong-node',
      `Pod "${name}" runs on node ${nodeName}; this is node ${context.info().name}.`,
      `Run the command on node ${nodeName}.`,
    )
  }
  const runtime = context.runtimeFor(pod)
  if (runtime !== undefined) return { pod, runtime }
  throw new PolderError(
    'no-runtime',
    `This polderd does not run pods: its runner is off, so it cannot reach into pod "${name}".`,
    'Use the tool that runs the pod (kubectl under Kubernetes), or start polderd with its runner on.',
  )
}

/** The container asked for, or the first; none for a pod without containers, which is a bare namespace. */
function containerOf(pod: Pod, asked: string | undefined): { container?: string } {
  const names = pod.spec.containers.map((container) => container.name)
  const container = asked ?? names[0]
  if (container === undefined) return {}
  if (names.includes(container)) return { container }
  throw new PolderError(
    'not-found',
    `Pod "${pod.metadata.name}" has no container "${asked}".`,
    names.length === 0 ? 'It is a bare network namespace: leave -c out.' : `It has: ${names.join(', ')}`,
  )
}

async function converse(
  context: ApiContext,
  connection: Duplex,
  run: (streams: ExecStreams) => Promise<number>,
  exec: ExecRequest,
): Promise<void> {
  const stdin = new PassThrough()
  const stdout = frameWriter(connection, EXEC_STDOUT)
  const stderr = frameWriter(connection, EXEC_STDERR)
  let resized: (size: { columns: number; rows: number }) => void = () => {}
  let size: { columns: number; rows: number } | undefined
  if (exec.stdin !== true) stdin.end()

  const onFrame = async (frame: Frame) => {
    if (frame.channel === EXEC_STDIN) await feed(stdin, frame.payload)
    if (frame.channel === EXEC_RESIZE) {
      const told = terminalSizeSchema.parse(JSON.parse(frame.payload.toString('utf8')))
      // A terminal that knows no size says 0 by 0 (a serial line, script(1) in a pipe): the runtime's own stays.
      if (told.columns === 0 || told.rows === 0) return
      size = told
      resized(size)
    }
  }
  const reading = (async () => {
    try {
      for await (const frame of decodeFrames(connection)) await onFrame(frame)
    } catch (error) {
      context.log.debug({ err: error }, 'exec: the client broke off')
    }
    stdin.end()
    stdout.destroy()
    stderr.destroy()
    connection.destroy()
  })()

  const onResize = (listener: typeof resized) => {
    resized = listener
    // The first size usually arrives before the runtime has its terminal.
    if (size !== undefined) listener(size)
  }
  const running = (async () => run({ stdin, stdout, stderr, onResize }))()
  const exit = await running.then(
    (exitCode) => ({ exitCode }),
    (error: unknown) => {
      const { status, body } = answerError(error)
      if (status === 500) context.log.error({ err: error }, 'exec failed')
      return body
    },
  )
  stdin.destroy()
  await Promise.all([flushed(stdout), flushed(stderr)])
  if (!connection.destroyed) connection.end(encodeFrame(EXEC_EXIT, JSON.stringify(exit)))
  await reading
}

async function feed(stdin: PassThrough, payload: Buffer): Promise<void> {
  if (stdin.writableEnded || stdin.destroyed) return
  if (payload.length === 0) stdin.end()
  else if (!stdin.write(payload)) await Promise.race([once(stdin, 'drain'), once(stdin, 'close')])
}

/** Everything written goes out as frames of this channel; a write completes when the connection has taken it. */
function frameWriter(connection: Duplex, channel: number): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (connection.destroyed) done()
      else connection.write(encodeFrames(channel, chunk), () => done())
    },
    // A runtime that still writes after it has answered loses those bytes, and nothing else.
  }).on('error', () => {})
}

async function flushed(writer: Writable): Promise<void> {
  if (writer.destroyed) return
  if (!writer.writableEnded) writer.end()
  if (!writer.writableFinished) await once(writer, 'close')
}
