/** Runs the polder command as a person does: its own process, with what it printed and its exit code. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { text } from 'node:stream/consumers'

export const POLDER = path.join(import.meta.dirname, '../../scripts/polder')

export interface CliResult {
  code: number | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  /** polderd's socket; without it the command looks for one itself. */
  socket?: string
  stdin?: string
  env?: Record<string, string>
}

export function startCli(words: string[], options: CliOptions = {}): ChildProcess {
  const socket = options.socket === undefined ? {} : { POLDER_SOCKET: options.socket }
  return spawn(POLDER, words, { env: { ...process.env, ...socket, ...options.env } })
}

export async function runCli(words: string[], options: CliOptions = {}): Promise<CliResult> {
  const child = startCli(words, options)
  child.stdin!.on('error', () => {})
  child.stdin!.end(options.stdin ?? '')
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')])
  return { code: child.exitCode, stdout, stderr }
}
