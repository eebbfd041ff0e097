/** `polder apply`: creates or changes what manifests describe. Namespaces go first, whatever their place in the files. */
import { Command } from 'commander'
import type { ClusterObject } from '../../daemon/cluster/objects.ts'
import { collect, examples } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { failAfterAll } from '../failures.ts'
import { wordOf } from '../kinds.ts'
import { readManifests } from '../manifests.ts'

export function applyCommand(): Command {
  const command = new Command('apply')
    .description('create or change the objects of manifests')
    .requiredOption('-f, --filename <file>', 'a file, a folder, or - for standard input; may be repeated', collect)
    .option('-n, --namespace <namespace>', 'the namespace of objects that name none')
  examples(command, [
    ['polder apply -f pod.yaml', 'run what a file describes'],
    ['polder apply -f pods/ -f more.yaml', 'all manifests of a folder, and one more'],
    ['polder get pod web -o yaml | polder apply -f -', 'from standard input'],
  ])
  return command.action(async (options: { filename: string[]; namespace?: string }, self: Command) => {
    const objects = await readManifests(options.filename, options.namespace)
    const { client } = (await findDaemons(self)).first
    await failAfterAll(objects.toSorted(namespacesFirst), async (object) => {
      const result = await client.put(object)
      process.stdout.write(`${wordOf(object.kind).singular}/${object.metadata.name} ${result}\n`)
    })
  })
}

function namespacesFirst(a: ClusterObject, b: ClusterObject): number {
  return Number(b.kind === 'Namespace') - Number(a.kind === 'Namespace')
}
