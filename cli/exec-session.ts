/** The client's side of an exec conversation: standard streams to frames and back, until the exit frame. */
import { once } from 'node:events'
import type { Duplex, Writable } from 'node:stream'
import { decodeFrames, encodeFrame, encodeFrames } from '../daemon/api/exec-frames.ts'
import { type ApiError, EXEC_EXIT, EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT } from '../daemon/api/types.ts'
import { PolderError } from '../daemon/errors.ts'

/** Resolves to the command's exit code. */
export async function converse(connection: Duplex, sendsStdin: boolean): Promise<number> {
  // What breaks the connection is seen by whoever reads it; a late write to it must not bring the process down.
  connection.on('error', () => {})
  if (sendsStdin) void sendStdin(connection)
  try {
    for await (const { channel, payload } of decodeFrames(connection)) {
      if (channel === EXEC_STDOUT) await write(process.stdout, payload)
      if (channel === EXEC_STDERR) await write(process.stderr, payload)
      if (channel === EXEC_EXIT) return exitCodeOf(JSON.parse(payload.toString('utf8')))
    }
  } catch (error) {
    if (error instanceof PolderError) throw error
  } finally {
    connection.destroy()
  }
  throw new PolderError(
    'connection-broken',
    'The connection to polderd broke before the command ended.',
    'See whether polderd still runs: polder version',
  )
}

async function sendStdin(connection: Duplex): Promise<void> {
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      if (!connection.write(encodeFrames(EXEC_STDIN, chunk))) await once(connection, 'drain')
    }
    connection.write(encodeFrame(EXEC_STDIN, ''))
  } catch {
    // The command has ended, and with it the connection or our reading: nobody wants the rest.
  }
}

async function write(stream: Writable, payload: Buffer): Promise<void> {
  if (!stream.write(payload)) await once(stream, 'drain')
}

function exitCodeOf(exit: { exitCode: number } | ApiError): number {
  if ('exitCode' in exit) return exit.exitCode
  const { code, message, remedy } = exit.error
  throw new PolderError(code, message, remedy)
}
