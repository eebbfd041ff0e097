/** What the commands have in common: options that read the same everywhere, and the look of their help. */
import type { Command } from 'commander'

export function namespaceOption(command: Command): Command {
  return command.option('-n, --namespace <namespace>', 'the namespace', 'default')
}

/** Each example is what to type and what it does. */
export function examples(command: Command, lines: [typed: string, does: string][]): Command {
  const width = Math.max(...lines.map(([typed]) => typed.length))
  const text = lines.map(([typed, does]) => `  ${typed.padEnd(width)}  ${does}`.trimEnd()).join('\n')
  return command.addHelpText('after', `\nExamples:\n${text}`)
}

/** For options that may be given several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value]
}
