/** Pods as tests write them, and what a runtime's exec and logs say, gathered. */
import { PassThrough, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { ExecRequest } from '../../daemon/api/types.ts'
import type { Container, Pod, PodSpec } from '../../daemon/cluster/objects.ts'
import type { LogOptions, PodRuntime } from '../../daemon/runner/pod-runtime.ts'

export function podOf(name: string, containers: Partial<Container>[], spec: Partial<PodSpec> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid: `uid-of-${name}` },
    spec: {
      // Shells as PID 1 do not end at SIGTERM.
      terminationGracePeriodSeconds: 0,
      containers: containers.map((container, index) => ({ name: `c${index}`, image: 'busybox', ...container })),
      ...spec,
    },
  }
}

export const forever = (script = ':'): Partial<Container> => ({ command: ['sh', '-c', `${script}; sleep 1000000`] })

export interface ExecOutcome {
  exitCode: number
  stdout: string
  stderr: string
}

export interface ExecInput extends Partial<ExecRequest> {
  input?: string | Buffer
  size?: { columns: number; rows: number }
}

export async function execIn(
  runtime: PodRuntime,
  pod: Pod,
  command: string[],
  { input, size, ...request }: ExecInput = {},
): Promise<ExecOutcome> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
  const said = [buffer(stdout), buffer(stderr)]
  if (input !== undefined) stdin.end(input)
  const exitCode = await runtime.exec(
    pod,
    { command, stdin: input !== undefined, ...request },
    { stdin, stdout, stderr, onResize: (listener) => size !== undefined && listener(size) },
  )
  stdout.end()
  stderr.end()
  const [out, err] = await Promise.all(said)
  return { exitCode, stdout: out!.toString('latin1'), stderr: err!.toString('latin1') }
}

export async function logsOf(runtime: PodRuntime, pod: Pod, options: LogOptions = {}): Promise<string> {
  const out = new PassThrough()
  const said = buffer(out)
  await runtime.logs(pod, options, out)
  out.end()
  return (await said).toString('utf8')
}

/** A reader that keeps what it was given so far. */
export class Collector extends Writable {
  text = ''

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('utf8')
    done()
  }
}
