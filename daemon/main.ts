/**
 * polderd's entrance. First, and with as little code as can be: packets flow again where an earlier polderd left off
 * (handover/resume.ts). Then the rest is loaded, and does what polderd was called for (command.ts).
 */
import { PolderError } from './errors.ts'
import { type Resumed, resume, serviceOf } from './handover/resume.ts'

function fail(error: unknown): void {
  if (error instanceof PolderError) process.stderr.write(`polderd: ${error.message}\n  ${error.remedy}\n`)
  else process.stderr.write(`polderd: ${error instanceof Error ? error.stack : String(error)}\n`)
  process.exitCode = error instanceof PolderError ? 1 : 70
  // What was started before it failed must not keep the process alive.
  process.exit()
}

async function main(argv: string[]): Promise<void> {
  const environment = { ...process.env }
  const service = serviceOf(process.env)
  const resumed: Resumed | undefined = resume(argv, process.env, service)
  const { command } = await import('./command.ts')
  await command(argv, service, resumed, environment)
}

main(process.argv.slice(2)).catch(fail)
