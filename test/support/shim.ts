/** Runs the CNI plugin as a runtime does: environment, stdin, and what comes back. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

export interface ShimAnswer {
  /** Exit status; -1 where it was killed. */
  code: number
  stdout: string
  stderr: string
}

export interface CniError {
  cniVersion: string
  code: number
  msg: string
  details: string
}

/** With nothing but these variables in its environment; `started` gets the process while it runs. */
export async function runShim(
  shim: string,
  environment: Record<string, string>,
  stdin: string,
  started: (child: ChildProcess) => void = () => {},
): Promise<ShimAnswer> {
  const child = spawn(shim, { env: environment })
  started(child)
  // A shim that answers without reading closes the pipe early.
  child.stdin.on('error', () => {})
  child.stdin.end(stdin)
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: (code as number | null) ?? -1, stdout, stderr }
}

/** The error of a failed call: nothing but it on stdout, nothing on stderr. */
export function errorOf(answer: ShimAnswer): CniError {
  if (answer.code !== 1 || answer.stderr !== '') throw new Error(`not a CNI failure: ${JSON.stringify(answer)}`)
  return JSON.parse(answer.stdout) as CniError
}
