/**
 * What polderd is called for: to run, or for one of the tasks that a flag names and that end. The flags of the tasks are
 * no settings: they are taken out here, before load.ts reads the others.
 */
import { PolderError } from '../errors.ts'

export type Task = 'run' | 'doctor' | 'uninstall'

export const TASK_FLAGS = ['--doctor', '--uninstall', '--purge']

export interface Called {
  task: Task
  /** With `uninstall`: cluster folder and state go too. */
  purge: boolean
  /** The flags that are settings. */
  settings: string[]
}

export function readTask(argv: readonly string[]): Called {
  const [doctor, uninstall, purge] = TASK_FLAGS.map((flag) => argv.includes(flag))
  if ((purge && !uninstall) || (doctor && uninstall)) {
    throw new PolderError(
      'bad-config',
      purge && !uninstall ? '--purge belongs to --uninstall' : '--doctor and --uninstall are two things',
      'See: polderd --help',
    )
  }
  const task = uninstall ? 'uninstall' : doctor ? 'doctor' : 'run'
  return { task, purge: purge === true, settings: argv.filter((flag) => !TASK_FLAGS.includes(flag)) }
}
