/** `polder logs`: what a container has written, and with `-f` what it writes from now on. */
import { pipeline } from 'node:stream/promises'
import { Command, InvalidArgumentError } from 'commander'
import { PolderError } from '../../daemon/errors.ts'
import { examples, namespaceOption } from '../command.ts'
import { daemonOf, findDaemons } from '../daemons.ts'
import { parsePodName } from '../kinds.ts'
import { chooseContainer, findPod } from '../pods.ts'

/** As with kubectl. */
const TAIL_ALL = -1

interface LogsOptions {
  namespace: string
  container?: string
  follow?: true
  tail: number
  timestamps?: true
}

export function logsCommand(): Command {
  const command = new Command('logs')
    .description('print the log of a container')
    .argument('<pod>', 'the pod: NAME or pod/NAME')
    .argument('[container]', 'which container (default: the first)')
    .option('-c, --container <container>', 'the same')
    .option('-f, --follow', 'go on as the log grows')
    .option('--tail <lines>', 'only the last lines; -1 is all', parseTail, TAIL_ALL)
    .option('--timestamps', 'each line with its time')
  examples(namespaceOption(command), [
    ['polder logs testpod -c c01', 'the log of one container'],
    ['polder logs -f --tail 10 testpod', 'the last ten lines, and what follows'],
  ])
  return command.action(async (podName: string, second: string | undefined, options: LogsOptions, self: Command) => {
    const daemons = await findDaemons(self)
    const pod = await findPod(daemons, parsePodName(podName), options.namespace)
    const container = chooseContainer(pod, options.container ?? second)
    const { follow = false, timestamps = false, tail } = options
    const log = await daemonOf(daemons, pod).client.log(pod.metadata.namespace!, pod.metadata.name, {
      follow,
      timestamps,
      ...(tail === TAIL_ALL ? {} : { tail }),
      ...(container === undefined ? {} : { container }),
    })
    await pipeline(log, process.stdout, { end: false }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') return
      throw new PolderError(
        'connection-broken',
        'The log broke off before its end.',
        'See whether polderd still runs: polder version',
      )
    })
  })
}

function parseTail(text: string): number {
  if (text === '-1') return TAIL_ALL
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It is a number of lines.')
}
