/** `polder create namespace`: the one thing that is created without a manifest. Pods: `polder run`. */
import { Command } from 'commander'
import { PolderError } from '../../daemon/errors.ts'
import { examples } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { failAfterAll } from '../failures.ts'

export function createCommand(): Command {
  const namespace = new Command('namespace')
    .alias('ns')
    .description('create namespaces')
    .argument('<name...>', 'their names')
    .action(async (names: string[], _options: object, self: Command) => {
      const { client } = (await findDaemons(self)).first
      await failAfterAll(names, async (name) => {
        if ((await client.find('Namespace', name)) !== undefined) {
          throw new PolderError('exists', `namespace "${name}" already exists.`, 'See it: polder get namespaces')
        }
        await client.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
        process.stdout.write(`namespace/${name} created\n`)
      })
    })
  examples(namespace, [['polder create namespace shop', 'then: polder apply -n shop -f pod.yaml']])
  return new Command('create').description('create a namespace').addCommand(namespace)
}
