/** What the commands on running pods ask first: the pod itself, and which of its containers is meant. */
import type { Pod } from '../daemon/cluster/objects.ts'
import { PolderError } from '../daemon/errors.ts'
import type { Daemons } from './daemons.ts'
import { wordOf } from './kinds.ts'
import { getRow } from './rows.ts'

export async function findPod(daemons: Daemons, name: string, namespace: string): Promise<Pod> {
  return (await getRow(daemons, wordOf('Pod'), name, namespace)) as Pod
}

/** The one asked for; else the first, said aloud where there are several; undefined for a pod without containers. */
export function chooseContainer(pod: Pod, asked: string | undefined): string | undefined {
  const names = pod.spec.containers.map((container) => container.name)
  if (asked !== undefined && !names.includes(asked)) {
    throw new PolderError(
      'not-found',
      `Pod "${pod.metadata.name}" has no container "${asked}".`,
      names.length === 0 ? 'It is a bare network namespace: leave -c out.' : `It has: ${names.join(', ')}`,
    )
  }
  if (asked === undefined && names.length > 1) {
    process.stderr.write(`Defaulted container "${names[0]}" out of: ${names.join(', ')}\n`)
  }
  return asked ?? names[0]
}
