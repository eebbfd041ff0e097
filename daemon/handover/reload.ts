/**
 * `polderd --reload`: starts a polderd that takes over (--takeover) in the background, and ends when that one is the
 * node, or has failed. For ExecReload= of the service, and for whoever installs a new version by hand. The new one
 * writes its log to where this process does.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { PolderError } from '../errors.ts'

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url))

/** `settings`: the flags that are settings; `environment`: as this process got it, systemd's words included. */
export async function reload(settings: readonly string[], environment: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, MAIN, '--takeover', ...settings], {
    detached: true,
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [outcome] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [unknown]
  if (outcome !== 'ready') {
    throw new PolderError(
      'takeover-failed',
      `the new polderd (process ${child.pid}) ended without taking over`,
      'It says above why. The one that ran goes on.',
    )
  }
  child.disconnect()
  child.unref()
}
