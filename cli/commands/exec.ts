/**
 * `polder exec`: a command in a container, with its own exit code. With `-t` the local terminal is put into raw mode for
 * the time of the command, and its size is passed on.
 */
import { Command } from 'commander'
import { encodeFrame } from '../../daemon/api/exec-frames.ts'
import { EXEC_RESIZE } from '../../daemon/api/types.ts'
import { PolderError } from '../../daemon/errors.ts'
import { examples, namespaceOption } from '../command.ts'
import { daemonOf, findDaemons } from '../daemons.ts'
import { converse } from '../exec-session.ts'
import { parsePodName } from '../kinds.ts'
import { chooseContainer, findPod } from '../pods.ts'

interface ExecOptions {
  namespace: string
  container?: string
  stdin?: true
  tty?: true
}

export function execCommand(): Command {
  const command = new Command('exec')
    .description('run a command in a container of a pod')
    .argument('<pod>', 'the pod: NAME or pod/NAME')
    .argument('[command...]', 'what to run, after --')
    .option('-c, --container <container>', 'which container (default: the first)')
    .option('-i, --stdin', 'pass standard input on')
    .option('-t, --tty', 'give it a terminal')
  examples(namespaceOption(command), [
    ['polder exec testpod -- ip addr', 'one command'],
    ['polder exec -it testpod -c c00 -- bash', 'a shell'],
    ['tar c dir | polder exec -i testpod -- tar x', 'with standard input'],
  ])
  return command.action(async (podName: string, words: string[], options: ExecOptions, self: Command) => {
    if (words.length === 0) {
      throw new PolderError('invalid', 'Run which command?', `Say it after --: polder exec ${podName} -- ls -l`)
    }
    const daemons = await findDaemons(self)
    const pod = await findPod(daemons, parsePodName(podName), options.namespace)
    const container = chooseContainer(pod, options.container)
    const { client } = daemonOf(daemons, pod)
    const tty = wantsTerminal(options)
    const connection = await client.exec(pod.metadata.namespace!, pod.metadata.name, {
      command: words,
      tty,
      stdin: options.stdin ?? false,
      ...(container === undefined ? {} : { container }),
    })
    const sendSize = () => {
      const { columns, rows } = process.stdout
      connection.write(encodeFrame(EXEC_RESIZE, JSON.stringify({ columns, rows })))
    }
    if (tty) {
      if (process.stdout.isTTY) sendSize()
      process.stdout.on('resize', sendSize)
      process.stdin.setRawMode(true)
    }
    try {
      process.exitCode = await converse(connection, options.stdin ?? false)
    } finally {
      if (tty) process.stdin.setRawMode(false)
      process.stdout.off('resize', sendSize)
      // A pending read of the terminal would keep the process alive.
      process.stdin.destroy()
    }
  })
}

function wantsTerminal(options: ExecOptions): boolean {
  if (!options.tty) return false
  if (options.stdin && process.stdin.isTTY) return true
  process.stderr.write(
    options.stdin
      ? 'No terminal for the command: standard input is not one.\n'
      : 'No terminal for the command: -t needs -i.\n',
  )
  return false
}
