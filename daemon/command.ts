/**
 * What polderd is called for: reads the configuration, starts (polderd.ts), and ends on SIGTERM or SIGINT, or when another
 * polderd has taken over; or does one of the tasks that end by themselves. Exit codes: 0 for a clean end, 1 for what the
 * user can mend, 70 for a fault of polderd's own.
 */
import { flushCompileCache } from 'node:module'
import { pino } from 'pino'
import type { Config } from './config/config.ts'
import { informationFor } from './config/help.ts'
import { loadConfig } from './config/load.ts'
import { readTask } from './config/task.ts'
import { PolderError } from './errors.ts'
import { boundOwnLog, OWN_LOG_BYTES_MAX } from './files/own-log.ts'
import { Predecessor } from './handover/incoming.ts'
import { reload } from './handover/reload.ts'
import type { Resumed, Service } from './handover/resume.ts'
import { surveyAlone } from './host/findings/survey.ts'
import { uninstall } from './host/uninstall.ts'
import { type StartOptions, startPolderd } from './polderd.ts'
import { VERSION } from './version.ts'

const LOG_LOOK_MS = 60_000
const COMPILED_AFTER_MS = 2000

/** `environment`: as the process got it, with what systemd says in it. */
export async function command(
  argv: string[],
  service: Service,
  resumed: Resumed | undefined,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  const information = informationFor(argv, VERSION)
  if (information !== undefined) {
    process.stdout.write(`${information}\n`)
    return
  }
  const { task, purge, settings } = readTask(argv)
  const { config, file } = loadConfig(settings, process.env)
  if (process.getuid?.() !== 0) {
    throw new PolderError('not-root', 'polderd needs root', 'Start it with sudo, or as a service.')
  }
  if (task === 'doctor') process.stdout.write(`${JSON.stringify(await surveyAlone(config))}\n`)
  else if (task === 'uninstall') process.stdout.write(`${(await uninstall(config, purge)).join('\n')}\n`)
  else if (task === 'reload') await reload(settings, environment)
  else {
    const called = { argv, env: { ...process.env }, configFile: file }
    await run({ config, called, service, resumed }, task === 'takeover')
  }
}

async function run(options: Omit<StartOptions, 'predecessor' | 'log'>, takesOver: boolean): Promise<void> {
  const { config, called, service } = options
  const { systemd } = service
  const log = pino({ level: config.logLevel, base: { node: config.nodeName } })
  log.info(
    { version: VERSION, pid: process.pid, file: called.configFile },
    takesOver ? 'polderd takes over' : 'polderd starts',
  )
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'a fault of polderd: it ends, and should be started again')
    process.exit(70)
  })

  setInterval(() => {
    try {
      boundOwnLog(process.stdout.fd, OWN_LOG_BYTES_MAX)
    } catch (error) {
      log.warn({ err: error }, 'the log could not be cut')
    }
  }, LOG_LOOK_MS).unref()

  const ended = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve)
  })
  const predecessor = takesOver ? await meetPredecessor(config, systemd) : undefined
  const polderd = await startPolderd({ ...options, predecessor, log })
  // Node itself does it at a clean end, which may never come. It takes a moment: not now.
  setTimeout(flushCompileCache, COMPILED_AFTER_MS).unref()
  systemd?.ready(predecessor?.loan.watchdogMs ?? undefined, () => polderd.works())
  process.send?.('ready')
  const signal = await Promise.race([ended, polderd.handedOver])
  if (signal === undefined) process.exit(0)
  log.info({ signal }, 'polderd stops')
  systemd?.notify('STOPPING=1', 'STATUS=polderd stops')
  await polderd.stop()
  log.info('polderd has stopped; devices, addresses and pods stay')
}

/** Everything is loaded before the running polderd is asked to pause. */
async function meetPredecessor(config: Config, systemd: Service['systemd']): Promise<Predecessor> {
  if (config.runner) await import('./runner/runner.ts')
  return Predecessor.meet(config, systemd?.path)
}
