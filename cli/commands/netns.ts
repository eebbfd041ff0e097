/**
 * `polder netns`: bare network namespaces as pods, without containers. Each is a Pod of runtimeClassName netns; its node
 * makes /run/netns/NAME, so that `ip netns exec NAME` runs anything in it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { nodeOf, type Pod } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import { formatAge } from '../age.ts'
import type { Client } from '../client.ts'
import { examples, namespaceOption } from '../command.ts'
import { type Daemons, findDaemons } from '../daemons.ts'
import { parseDuration } from '../duration.ts'
import { failAfterAllAtOnce } from '../failures.ts'
import { podAddresses, summarizePod } from '../pod-status.ts'
import { formatTable } from '../table.ts'
import { deleteObjects } from './delete.ts'

const POLL_MS = 50

interface CreateOptions {
  namespace: string
  node?: string
  timeout: number
}

interface DeleteOptions {
  namespace: string
  wait: boolean
  timeout: number
}

export function netnsCommand(): Command {
  const command = new Command('netns').description('bare network namespaces as pods, without containers')
  examples(command, [
    ['polder netns create a b', 'two namespaces with pod addresses'],
    ['sudo ip netns exec a ping 10.244.0.4', 'in one of them (on its node)'],
    ['polder netns list', 'what there is, and where'],
    ['polder netns delete a b', 'remove them'],
  ])
  command.addCommand(createCommand())
  command.addCommand(deleteCommand())
  return command.addCommand(listCommand())
}

function createCommand(): Command {
  const command = new Command('create')
    .description('make network namespaces, and wait until they have their addresses')
    .argument('<name...>', 'their names')
    .option('--node <node>', 'on this node (default: this machine; in a lab, spread over the nodes)')
    .option('--timeout <duration>', 'how long to wait for the addresses', parseDuration, 30_000)
  examples(namespaceOption(command), [['polder netns create a --node node2', 'on a certain node']])
  return command.action(async (names: string[], options: CreateOptions, self: Command) => {
    const daemons = await findDaemons(self)
    const nodeName = options.node ?? (daemons.lab ? undefined : daemons.first.info.name)
    await failAfterAllAtOnce(names, async (name) => {
      const { client } = daemons.first
      const found = await client.find('Pod', name, options.namespace)
      if (found !== undefined && found.metadata.deletionTimestamp === undefined) {
        throw new PolderError(
          'exists',
          `pod "${name}" already exists in namespace ${options.namespace}.`,
          `Take another name, or remove it: polder netns delete ${name} -n ${options.namespace}`,
        )
      }
      await client.put({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: options.namespace },
        spec: { containers: [], runtimeClassName: 'netns', ...(nodeName === undefined ? {} : { nodeName }) },
      })
      const pod = await waitForAddresses(client, name, options)
      process.stdout.write(describe(pod, daemons))
    })
  })
}

function deleteCommand(): Command {
  const command = new Command('delete')
    .description('remove network namespaces, and wait until they are gone')
    .argument('<name...>', 'their names')
    .option('--no-wait', 'do not wait until they are gone')
    .option('--timeout <duration>', 'how long to wait', parseDuration, 30_000)
  return namespaceOption(command).action(async (names: string[], options: DeleteOptions, self: Command) => {
    const daemons = await findDaemons(self)
    const { namespace } = options
    const others = (await daemons.first.client.list('Pod', namespace)).filter((pod) => !isNetns(pod))
    const wrong = others.find((pod) => names.includes(pod.metadata.name))?.metadata.name
    if (wrong !== undefined) {
      throw new PolderError(
        'invalid',
        `"${wrong}" is a pod with containers, not a bare network namespace. Nothing was deleted.`,
        `To remove it: polder delete pod ${wrong} -n ${namespace}`,
      )
    }
    await deleteObjects(
      daemons,
      names.map((name) => ({ kind: 'Pod', name, namespace })),
      options,
    )
  })
}

function listCommand(): Command {
  const command = new Command('list')
    .alias('ls')
    .description('list the network namespaces')
    .option('-A, --all-namespaces', 'of all Kubernetes namespaces')
  return namespaceOption(command).action(
    async (options: { namespace: string; allNamespaces?: true }, self: Command) => {
      const { client } = (await findDaemons(self)).first
      const pods = await client.list('Pod', options.allNamespaces ? undefined : options.namespace)
      const nowMs = Date.now()
      const rows = pods
        .filter(isNetns)
        .map((pod) => [
          ...(options.allNamespaces ? [pod.metadata.namespace!] : []),
          pod.metadata.name,
          summarizePod(pod).status,
          podAddresses(pod).join(',') || '<none>',
          nodeOf(pod) ?? '<none>',
          formatAge(pod.metadata.creationTimestamp, nowMs),
        ])
      const headings = [...(options.allNamespaces ? ['NAMESPACE'] : []), 'NAME', 'STATUS', 'ADDRESSES', 'NODE', 'AGE']
      if (rows.length > 0) process.stdout.write(formatTable([headings, ...rows]))
      else process.stderr.write('No network namespaces. Make some: polder netns create NAME...\n')
    },
  )
}

function isNetns(pod: Pod): boolean {
  return pod.spec.runtimeClassName === 'netns'
}

async function waitForAddresses(client: Client, name: string, options: CreateOptions): Promise<Pod> {
  const deadlineMs = Date.now() + options.timeout
  for (;;) {
    const pod = await client.get('Pod', name, options.namespace)
    if (pod.status?.phase === 'Running' && podAddresses(pod).length > 0) return pod
    if (pod.status?.phase === 'Failed' || Date.now() >= deadlineMs) {
      const why =
        pod.status?.message ?? pod.status?.reason ?? (nodeOf(pod) ? 'its node has not said why' : 'no node took it')
      throw new PolderError(
        'timeout',
        `Network namespace "${name}" has no addresses: ${why}`,
        `See more: polder describe pod ${name} -n ${options.namespace}. Remove it: polder netns delete ${name} -n ${options.namespace}`,
      )
    }
    await delay(POLL_MS)
  }
}

function describe(pod: Pod, daemons: Daemons): string {
  const { name } = pod.metadata
  const nodeName = nodeOf(pod)!
  const { info } = daemons.all.find((daemon) => daemon.info.name === nodeName) ?? daemons.first
  const enter = daemons.lab ? `sudo polder lab exec ${nodeName} -- ip netns exec ${name}` : `sudo ip netns exec ${name}`
  return `${name} on ${nodeName}: ${podAddresses(pod).join(' ')}\n  ${enter} ping ${info.gateways[0]}\n`
}
