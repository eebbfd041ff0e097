/** `polder wait`: until objects have a condition, or are gone. */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { ClusterObject } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { Client } from '../client.ts'
import { examples, namespaceOption } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { parseDuration } from '../duration.ts'
import { failAfterAllAtOnce } from '../failures.ts'
import { type ObjectWord, parseKind, parseObjects, requireObjectKind } from '../kinds.ts'
import { getRow } from '../rows.ts'

const POLL_MS = 100

interface Goal {
  /** As printed: `condition met`, or `deleted`. */
  reached: string
  asked: string
  holds: (object: ClusterObject | undefined) => boolean
}

interface WaitOptions {
  namespace: string
  for: Goal
  timeout: number
  all?: true
}

export function waitCommand(): Command {
  const command = new Command('wait')
    .description('wait until objects have a condition, or are gone')
    .argument('<kind>', 'KIND NAME..., or KIND/NAME...')
    .argument('[name...]')
    .requiredOption('--for <goal>', 'condition=NAME, condition=NAME=VALUE, phase=NAME or delete', parseGoal)
    .option('--timeout <duration>', 'how long to wait', parseDuration, 30_000)
    .option('--all', 'for all of the kind in the namespace')
  examples(namespaceOption(command), [
    ['polder wait --for=condition=Ready pod/testpod', 'until its containers run'],
    ['polder wait --for=condition=Ready nodes --all', 'until all nodes are there'],
    ['polder wait --for=phase=Succeeded pod/once --timeout 2m', 'until it has done its work'],
    ['polder wait --for=delete pod/testpod', 'until it is deleted'],
  ])
  return command.action(async (kind: string, names: string[], options: WaitOptions, self: Command) => {
    const named = options.all ? [] : parseObjects([kind, ...names], 'wait')
    const daemons = await findDaemons(self)
    const { client } = daemons.first
    const objects = options.all ? await allOf(client, kind, options) : named
    const deadlineMs = Date.now() + options.timeout
    await failAfterAllAtOnce(objects, async (object) => {
      // What is not there now will not come by waiting: say so at once, unless its absence is what is waited for.
      if (!options.for.holds(undefined)) await getRow(daemons, object.word, object.name, options.namespace)
      await reach(client, object, options, deadlineMs)
      process.stdout.write(`${object.word.singular}/${object.name} ${options.for.reached}\n`)
    })
  })
}

function parseGoal(text: string): Goal {
  if (text === 'delete') return { reached: 'deleted', asked: 'deletion', holds: (object) => object === undefined }
  const [what, name, value = 'True', ...rest] = text.split('=')
  if (what === 'condition' && name && rest.length === 0) {
    const isGoal = (each: { type: string; status: string }) =>
      each.type.toLowerCase() === name.toLowerCase() && each.status.toLowerCase() === value.toLowerCase()
    return {
      reached: 'condition met',
      asked: `condition ${name}=${value}`,
      holds: (object) => conditionsOf(object).some(isGoal),
    }
  }
  if (what === 'phase' && name && rest.length === 0 && text.split('=').length === 2) {
    return { reached: 'condition met', asked: `phase ${name}`, holds: (object) => phaseOf(object) === name }
  }
  throw new PolderError(
    'invalid',
    `--for=${text} is not understood.`,
    'Say --for=condition=Ready, --for=condition=Ready=False, --for=phase=Succeeded or --for=delete.',
  )
}

function conditionsOf(object: ClusterObject | undefined): { type: string; status: string }[] {
  if (object === undefined || !('status' in object) || object.status === undefined) return []
  return 'conditions' in object.status ? (object.status.conditions ?? []) : []
}

function phaseOf(object: ClusterObject | undefined): string | undefined {
  if (object === undefined || !('status' in object) || object.status === undefined) return undefined
  return 'phase' in object.status ? object.status.phase : undefined
}

async function allOf(client: Client, kind: string, options: WaitOptions): Promise<ObjectWord[]> {
  const word = requireObjectKind(parseKind(kind), 'wait')
  const objects = await client.list(word.kind, word.namespaced ? options.namespace : undefined)
  if (objects.length > 0) return objects.map((object) => ({ word, name: object.metadata.name }))
  throw new PolderError('not-found', `There are no ${word.plural}.`, `See what there is: polder get ${word.plural} -A`)
}

async function reach(client: Client, object: ObjectWord, options: WaitOptions, deadlineMs: number): Promise<void> {
  const { word, name } = object
  for (;;) {
    const current = await client.find(word.kind, name, word.namespaced ? options.namespace : undefined)
    if (options.for.holds(current)) return
    if (current === undefined || Date.now() >= deadlineMs) {
      const what = current === undefined ? 'It was deleted' : `${options.timeout / 1000} s have passed`
      throw new PolderError(
        'timeout',
        `${what} while waiting for ${options.for.asked} of ${word.singular}/${name}.`,
        `See its state: polder describe ${word.singular} ${name}${word.namespaced ? ` -n ${options.namespace}` : ''}`,
      )
    }
    await delay(POLL_MS)
  }
}
