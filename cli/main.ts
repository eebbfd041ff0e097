/**
 * The `polder` command. This file puts the commands together and gives them one way to fail: every error, polder's own
 * or commander's, reads `Error: what` and below it what to do, on stderr, and the exit code is 1. What the commands do is
 * in commands/ and lab/.
 */
import { Command, CommanderError } from 'commander'
import { applyCommand } from './commands/apply.ts'
import { createCommand } from './commands/create.ts'
import { deleteCommand } from './commands/delete.ts'
import { describeCommand } from './commands/describe.ts'
import { doctorCommand } from './commands/doctor.ts'
import { execCommand } from './commands/exec.ts'
import { flowsCommand } from './commands/flows.ts'
import { getCommand } from './commands/get.ts'
import { logsCommand } from './commands/logs.ts'
import { netnsCommand } from './commands/netns.ts'
import { runCommand } from './commands/run.ts'
import { versionCommand } from './commands/version.ts'
import { waitCommand } from './commands/wait.ts'
import { formatUsageError, reportError } from './failures.ts'
import { VERSION } from './version.ts'

const GUIDE = `
Examples:
  sudo polder lab up             two nodes on this machine
  polder apply -f pod.yaml       run a pod
  polder get pods -o wide        see where it runs, and its addresses
  polder exec -it NAME -- sh     look around in it
  polder COMMAND --help          more about each command`

async function buildProgram(words: string[]): Promise<Command> {
  const program = new Command('polder')
    .description('One flat pod network across nodes, and the pods on it.')
    .option('--socket <path>', "polderd's socket (default: $POLDER_SOCKET, this machine's polderd, or a running lab)")
    .version(`polder ${VERSION}`, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', GUIDE)
  const commands = [
    words.includes('lab') ? await loadLab() : new Command('lab').description('several nodes on this machine'),
    applyCommand(),
    runCommand(),
    netnsCommand(),
    createCommand(),
    getCommand(),
    describeCommand(),
    logsCommand(),
    execCommand(),
    waitCommand(),
    flowsCommand(),
    deleteCommand(),
    doctorCommand(),
    versionCommand(),
  ]
  for (const command of commands) program.addCommand(command)
  shareManners(program)
  return program
}

/** The lab takes longer to load than most commands to run, and most commands have nothing to do with it. */
async function loadLab(): Promise<Command> {
  const { labCommand } = await import('./lab/command.ts')
  return labCommand()
}

/** Commands built apart from the program do not inherit how it fails and what its help looks like. */
function shareManners(command: Command): void {
  command.exitOverride()
  command.configureOutput({ outputError: (text, write) => write(formatUsageError(text, command)) })
  command.configureHelp({ showGlobalOptions: true })
  for (const sub of command.commands) shareManners(sub)
}

/** `polder get pods | head -1` ends when head has read enough, and that is no failure. */
function endQuietlyOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
  process.exit(process.exitCode ?? 0)
}

async function main(words: string[]): Promise<void> {
  process.stdout.on('error', endQuietlyOnClosedPipe)
  process.stderr.on('error', endQuietlyOnClosedPipe)
  try {
    const program = await buildProgram(words)
    await program.parseAsync(words.length === 0 ? ['--help'] : words, { from: 'user' })
  } catch (error) {
    // Commander has said what was wrong, or shown the help.
    if (error instanceof CommanderError) process.exitCode = error.exitCode
    else {
      reportError(error)
      process.exitCode = 1
    }
  }
}

await main(process.argv.slice(2))
