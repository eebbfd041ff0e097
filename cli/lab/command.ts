/** The `polder lab` command: its words, options and help. The work is in up.ts, down.ts, status.ts and processes.ts. */
import { existsSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { PolderError } from '../../daemon/errors.ts'
import { examples } from '../command.ts'
import { down } from './down.ts'
import { type Lab, labOf, MAX_NODES, nodesOf } from './lab.ts'
import { execInside, nodeInits } from './processes.ts'
import { requireRoot } from './root.ts'
import { describeLab, labState } from './status.ts'
import { up } from './up.ts'

const NAME = ['--name <name>', 'which lab, where there are several (default: $POLDER_LAB, or lab)'] as const

export function labCommand(): Command {
  const command = new Command('lab')
    .enablePositionalOptions()
    .description('several nodes on this machine: each is a set of namespaces with its own containerd and polderd')
  examples(command, [
    ['sudo polder lab up --nodes 3', 'three nodes'],
    ['sudo polder lab status', 'what runs, and where the logs are'],
    ['sudo polder lab exec node1 -- ip addr', 'a command inside a node'],
    ['sudo polder lab down', 'removes all of it'],
  ])

  command
    .command('up')
    .description('start the lab, or complete it')
    .option('--nodes <count>', 'how many nodes', nodeCount, 2)
    .option('--no-images', 'load no images into containerd')
    .option(...NAME)
    .action(async (options: { nodes: number; images: boolean; name?: string }) => {
      const lab = labOf(options.name)
      process.once('SIGINT', () => interrupted(lab))
      await up(lab, options, (line) => console.log(line))
    })

  command
    .command('down')
    .description('remove the lab with everything in it')
    .option(...NAME)
    .action((options: { name?: string }) => down(labOf(options.name), (line) => console.log(line)))

  command
    .command('status')
    .description('what of the lab runs')
    .option(...NAME)
    .action(async (options: { name?: string }) => {
      requireRoot('polder lab status')
      const lab = labOf(options.name)
      console.log(describeLab(lab, await labState(lab)))
    })

  command
    .command('exec')
    .description('run a command inside a node (without one: a shell)')
    .argument('<node>', 'the node: node1, node2, ...')
    .argument('[command...]', 'what to run, after --')
    .option(...NAME)
    .passThroughOptions()
    .action(async (node: string, words: string[], options: { name?: string }) => {
      requireRoot('polder lab exec')
      process.exitCode = await execInNode(labOf(options.name), node, words.length > 0 ? words : ['bash'])
    })
  return command
}

async function execInNode(lab: Lab, name: string, words: string[]): Promise<number> {
  const node = nodesOf(lab).find((one) => one.name === name)
  const init = nodeInits(lab).get(name)
  if (node === undefined || init === undefined) {
    const known = [...nodeInits(lab).keys()].sort()
    const remedy = known.length > 0 ? `Its nodes are ${known.join(', ')}.` : 'Start it: sudo polder lab up'
    throw new PolderError('lab-no-node', `The lab has no running node "${name}".`, remedy)
  }
  const here = process.cwd()
  return execInside(node, init, words, existsSync(`/proc/${init}/root${here}`) ? here : '/')
}

function nodeCount(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= MAX_NODES) return count
  throw new InvalidArgumentError(`It must be a number from 1 to ${MAX_NODES}.`)
}

function interrupted(lab: Lab): never {
  const name = lab.name === 'lab' ? '' : ` --name ${lab.name}`
  console.error(`\nInterrupted. To go on: polder lab up${name}. To remove what is there: polder lab down${name}`)
  process.exit(130)
}
