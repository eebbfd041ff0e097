/** `polder version`: of this command, and of every polderd it can reach. */
import { Command } from 'commander'
import { examples } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { VERSION } from '../version.ts'

export function versionCommand(): Command {
  const command = new Command('version')
    .description('print the versions of polder and of the polderd it talks to')
    .option('--client', 'only that of this command')
  examples(command, [['polder version', 'also shows which polderd answers']])
  return command.action(async (options: { client?: true }, self: Command) => {
    process.stdout.write(`polder ${VERSION}\n`)
    if (options.client) return
    for (const { client, info } of (await findDaemons(self)).all) {
      process.stdout.write(`polderd ${info.version} on ${info.name} (pid ${info.pid}, ${client.socket})\n`)
    }
  })
}
