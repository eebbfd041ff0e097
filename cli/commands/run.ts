/** `polder run`: a pod of one container, without a manifest. */
import { Command, InvalidArgumentError } from 'commander'
import type { Container, EnvVar, Pod, PodSpec } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import { collect, examples, namespaceOption } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { parseLabels } from '../labels.ts'

interface RunOptions {
  namespace: string
  image: string
  port?: number
  env?: string[]
  labels?: string
  command?: true
  restart?: NonNullable<PodSpec['restartPolicy']>
  node?: string
  hostNetwork?: true
}

export function runCommand(): Command {
  const command = new Command('run')
    .description('run a pod of one container')
    .argument('<name>', 'the name of the pod')
    .argument('[arg...]', 'arguments for the image, after --; with --command the command itself')
    .requiredOption('--image <image>', 'what to run')
    .option('--port <port>', 'the port it listens on', parsePort)
    .option('--env <name=value>', 'an environment variable; may be repeated', collect)
    .option('-l, --labels <labels>', 'labels: key=value,key=value (default: run=NAME)')
    .option('--command', 'what follows -- replaces the command of the image')
    .option('--restart <policy>', 'Always, OnFailure or Never', parseRestart)
    .option('--node <node>', 'on this node (default: spread)')
    .option('--host-network', "in the node's own network")
  examples(namespaceOption(command), [
    ['polder run web --image nginx --port 80', 'a web server'],
    ['polder run once --image busybox --restart Never -- date', 'a command that ends'],
    ['polder run box --image busybox --node node2 -- sleep 1d', 'on a certain node'],
  ])
  return command.action(async (name: string, words: string[], options: RunOptions, self: Command) => {
    const pod = podOf(name, words, options)
    const { client } = (await findDaemons(self)).first
    const found = await client.find('Pod', name, options.namespace)
    if (found !== undefined && found.metadata.deletionTimestamp === undefined) {
      throw new PolderError(
        'exists',
        `pod "${name}" already exists in namespace ${options.namespace}.`,
        `Take another name, or remove it: polder delete pod ${name} -n ${options.namespace}`,
      )
    }
    process.stdout.write(`pod/${name} ${await client.put(pod)}\n`)
  })
}

function podOf(name: string, words: string[], options: RunOptions): Pod {
  const container: Container = { name, image: options.image }
  if (options.port !== undefined) container.ports = [{ containerPort: options.port }]
  if (options.env !== undefined) container.env = options.env.map(parseVariable)
  if (words.length > 0) container[options.command ? 'command' : 'args'] = words
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: options.namespace,
      labels: options.labels === undefined ? { run: name } : parseLabels(options.labels),
    },
    spec: {
      containers: [container],
      ...(options.restart === undefined ? {} : { restartPolicy: options.restart }),
      ...(options.node === undefined ? {} : { nodeName: options.node }),
      ...(options.hostNetwork === undefined ? {} : { hostNetwork: true }),
    },
  }
}

function parseVariable(text: string): EnvVar {
  const equals = text.indexOf('=')
  if (equals > 0) return { name: text.slice(0, equals), value: text.slice(equals + 1) }
  throw new PolderError('invalid', `--env ${text} is not understood.`, 'Write it as --env NAME=VALUE.')
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port >= 1 && port <= 65_535) return port
  throw new InvalidArgumentError('A port is a number from 1 to 65535.')
}

function parseRestart(text: string): NonNullable<PodSpec['restartPolicy']> {
  const policies = ['Always', 'OnFailure', 'Never'] as const
  const policy = policies.find((candidate) => candidate === text)
  if (policy !== undefined) return policy
  throw new InvalidArgumentError('The policies are Always, OnFailure and Never.')
}
