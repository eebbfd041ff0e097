/**
 * What polderd is called for: to run, or for one of the tasks that a flag names and that end. The flags of the tasks are
 * no settings: they are taken out here, before load.ts reads the others.
 */
import { PolderError } from '../errors.ts'

export type Task = 'run' | 'takeover' | 'reload' | 'doctor' | 'uninstall'

const TASKS = ['takeover', 'reload', 'doctor', 'uninstall'] as const
export const TASK_FLAGS = [...TASKS.map((task) => `--${task}`), '--purge']

export interface Called {
  task: Task
  /** With `uninstall`: cluster folder and state go too. */
  purge: boolean
  /** The flags that are settings. */
  settings: string[]
}

export function readTask(argv: readonly string[]): Called {
  const tasks = TASKS.filter((task) => argv.includes(`--${task}`))
  const purge = argv.includes('--purge')
  if (tasks.length > 1 || (purge && tasks[0] !== 'uninstall')) {
    throw new PolderError(
      'bad-config',
      tasks.length > 1 ? `--${tasks[0]} and --${tasks[1]} are two things` : '--purge belongs to --uninstall',
      'See: polderd --help',
    )
  }
  return { task: tasks[0] ?? 'run', purge, settings: argv.filter((flag) => !TASK_FLAGS.includes(flag)) }
}
