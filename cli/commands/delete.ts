/**
 * `polder delete`: removes objects and waits until nothing of them is left on their nodes. The request goes to the pod's
 * own node where that is within reach, since only that node sees sandbox and interface go.
 */
import { Command } from 'commander'
import { nodeOf, type ObjectKey } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { Client, DeleteQuery } from '../client.ts'
import { collect, examples } from '../command.ts'
import { type Daemons, findDaemons } from '../daemons.ts'
import { parseDuration } from '../duration.ts'
import { failAfterAllAtOnce } from '../failures.ts'
import { parseKind, parseObjects, requireObjectKind, wordOf } from '../kinds.ts'
import { readManifests } from '../manifests.ts'
import { getRow } from '../rows.ts'

const PATIENCE_MS = 2000

interface DeleteOptions {
  filename?: string[]
  namespace?: string
  all?: true
  wait: boolean
  timeout: number
  ignoreNotFound?: true
  gracePeriod?: number
  now?: true
  force?: true
}

export function deleteCommand(): Command {
  const command = new Command('delete')
    .description('remove objects, and wait until they are gone')
    .argument('[kind]', 'pod, node, namespace; or KIND/NAME')
    .argument('[name...]', 'which')
    .option('-f, --filename <file>', 'what these manifests describe; may be repeated', collect)
    .option('-n, --namespace <namespace>', 'the namespace (default: "default")')
    .option('--all', 'all of this kind in the namespace')
    .option('--no-wait', 'do not wait until they are gone')
    .option('--timeout <duration>', 'how long to wait', parseDuration, 120_000)
    .option('--grace-period <seconds>', 'how long pods have to end (default: as they say themselves)', parseSeconds)
    .option('--now', 'as --grace-period 1')
    .option('--force', 'kill at once, and do not wait for nodes that are down')
    .option('--ignore-not-found', 'it is no error when there is nothing to delete')
  examples(command, [
    ['polder delete pod testpod', 'stop and remove one pod'],
    ['polder delete pod/a pod/b', 'two of them'],
    ['polder delete -f pod.yaml', 'what a manifest describes'],
    ['polder delete pods --all -n lab', 'all pods of a namespace'],
    ['polder delete pod stuck --force', 'without a word to its processes, or of its node'],
  ])
  return command.action(async (kind: string | undefined, names: string[], options: DeleteOptions, self: Command) => {
    const words = kind === undefined ? [] : [kind, ...names]
    const named = options.all ? [] : await keysOf(words, options)
    const daemons = await findDaemons(self)
    const keys = options.all ? await allKeys(daemons.first.client, words, options) : named
    if (keys.length === 0) process.stdout.write('No resources found.\n')
    await deleteObjects(daemons, keys, options)
  })
}

function parseSeconds(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw new PolderError('invalid', `--grace-period ${text} is not understood.`, 'Say whole seconds: --grace-period 5')
}

async function keysOf(words: string[], options: DeleteOptions): Promise<ObjectKey[]> {
  if (words.length === 0 && options.filename === undefined) {
    throw new PolderError('invalid', 'Delete what?', 'Say: polder delete KIND NAME..., or polder delete -f FILE')
  }
  if (words.length > 0 && options.filename !== undefined) {
    throw new PolderError('invalid', 'Both -f and names are given.', 'Delete the one, then the other.')
  }
  if (options.filename !== undefined) {
    const objects = await readManifests(options.filename, options.namespace)
    return objects.map(({ kind, metadata }) => keyFor(kind, metadata.name, metadata.namespace))
  }
  return parseObjects(words, 'delete').map(({ word, name }) =>
    keyFor(word.kind, name, word.namespaced ? (options.namespace ?? 'default') : undefined),
  )
}

/** All of one kind: in the namespace, where the kind has one. */
async function allKeys(client: Client, words: string[], options: DeleteOptions): Promise<ObjectKey[]> {
  const [kind, ...names] = words
  if (kind === undefined || names.length > 0 || options.filename !== undefined) {
    throw new PolderError('invalid', '--all goes with one kind, and nothing else.', 'Say: polder delete pods --all')
  }
  const word = requireObjectKind(parseKind(kind), 'delete')
  const objects = await client.list(word.kind, word.namespaced ? (options.namespace ?? 'default') : undefined)
  return objects.map(({ kind, metadata }) => keyFor(kind, metadata.name, metadata.namespace))
}

function keyFor(kind: ObjectKey['kind'], name: string, namespace: string | undefined): ObjectKey {
  return { kind, name, ...(namespace === undefined ? {} : { namespace }) }
}

/** Pods and nodes first: a namespace takes its pods along, and they would be missed. */
export async function deleteObjects(
  daemons: Daemons,
  keys: ObjectKey[],
  options: Omit<DeleteOptions, 'filename' | 'namespace' | 'all'>,
): Promise<void> {
  const { force, now, gracePeriod } = options
  if (force && gracePeriod) {
    throw new PolderError('invalid', '--force leaves no grace period.', 'Leave out --force, or --grace-period.')
  }
  const how = { grace: now ? 1 : gracePeriod, force }
  const remove = async (key: ObjectKey) => {
    const word = wordOf(key.kind)
    try {
      if (key.kind === 'Namespace' && options.wait) await emptyNamespace(daemons, key.name, options.timeout, how)
      const client = await clientFor(daemons, key)
      const answer = await sayingSo(word.singular, key.name, () =>
        client.delete(key, { ...how, wait: options.wait ? Math.ceil(options.timeout / 1000) : undefined }),
      )
      process.stdout.write(`${word.singular} "${key.name}" deleted\n`)
      if (answer.gone === false) throw notGone(key, options.timeout)
    } catch (error) {
      if (!(error instanceof PolderError && error.code === 'not-found')) throw error
      // Asked again, for the words of an error that names what there is.
      if (options.ignoreNotFound) return
      await getRow(daemons, word, key.name, key.namespace ?? 'default')
    }
  }
  await failAfterAllAtOnce(
    keys.filter((key) => key.kind !== 'Namespace'),
    remove,
  )
  await failAfterAllAtOnce(
    keys.filter((key) => key.kind === 'Namespace'),
    remove,
  )
}

/** A person at a terminal is told what a long wait is for: mostly a process that takes no notice of SIGTERM. */
async function sayingSo<T>(kind: string, name: string, wait: () => Promise<T>): Promise<T> {
  const say = () => process.stderr.write(`waiting for ${kind} "${name}" to stop\n`)
  const timer = process.stderr.isTTY ? setTimeout(say, PATIENCE_MS) : undefined
  return wait().finally(() => clearTimeout(timer))
}

/** polderd would do this itself when the namespace goes, but not wait: each pod's own node knows when it is gone. */
async function emptyNamespace(daemons: Daemons, namespace: string, timeoutMs: number, how: DeleteQuery): Promise<void> {
  if (namespace === 'default') return
  const pods = await daemons.first.client.list('Pod', namespace)
  await Promise.all(
    pods.map(async ({ metadata }) => {
      const key: ObjectKey = { kind: 'Pod', name: metadata.name, namespace }
      const { gone } = await (await clientFor(daemons, key)).delete(key, {
        ...how,
        wait: Math.ceil(timeoutMs / 1000),
      })
      if (gone === false) throw notGone(key, timeoutMs)
    }),
  )
}

async function clientFor(daemons: Daemons, key: ObjectKey): Promise<Client> {
  const { client } = daemons.first
  if (key.kind !== 'Pod' || daemons.all.length === 1) return client
  const pod = await client.get('Pod', key.name, key.namespace)
  return daemons.all.find(({ info }) => info.name === nodeOf(pod))?.client ?? client
}

function notGone(key: ObjectKey, timeoutMs: number): PolderError {
  return new PolderError(
    'timeout',
    `${key.kind} "${key.name}" is deleted, but after ${timeoutMs / 1000} s its node still holds something of it.`,
    'See the log of polderd on its node; --timeout waits longer, --no-wait not at all; --force gives up on its node.',
  )
}
