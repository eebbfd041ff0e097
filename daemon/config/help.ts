/**
 * What `polderd --help` and `polderd --version` print, made from the table of settings.
 */
import { DEFAULT_CONFIG_FILE } from './places.ts'
import { flagOf, SETTING_KEYS, SETTINGS, type SettingKey, variableOf } from './settings.ts'

/** The text that `argv` asks for instead of a running daemon; undefined where it asks for none. */
export function informationFor(argv: readonly string[], version: string): string | undefined {
  if (argv.includes('--help') || argv.includes('-h')) return helpText()
  if (argv.includes('--version')) return `polderd ${version}`
  return undefined
}

export function helpText(): string {
  return `Usage: polderd [flags]

polderd joins this machine's pods to the cluster's pod network. It needs root.

A setting is taken from its flag, else from its environment variable, else from the
configuration file, where it has the name in brackets, else it has its default.

  --config FILE
      POLDER_CONFIG
      Configuration file (YAML). Default: ${DEFAULT_CONFIG_FILE}, which may be absent.

${SETTING_KEYS.map(settingHelp).join('\n\n')}

  --doctor    Print what is wrong on this machine, as JSON, and exit; while polderd does not run.
              For people there is: polder doctor
  --takeover  Take over from the polderd that runs, without a gap, and run in its place.
  --reload    Start a polderd that takes over from the one that runs, in the background; exit when it has, or has not.
  --uninstall Remove what polderd put on this machine, say what that was, and exit.
  --purge     With --uninstall: the cluster folder and the node's state too.
  --help      Print this and exit.
  --version   Print the version and exit.

Examples:
  polderd --node-name alpha --underlay-interface eth1
  POLDER_LOG_LEVEL=debug polderd --config ./polder.yaml --no-runner
`
}

function settingHelp(key: SettingKey): string {
  const setting = SETTINGS[key]
  const fallback = setting.defaultFrom ?? String(setting.default)
  return `  ${flagOf(key)} ${placeholder(key)}\n      ${variableOf(key)} [${key}]\n      ${setting.meaning} Default: ${fallback}.`
}

function placeholder(key: SettingKey): string {
  const value = SETTINGS[key].default
  if (typeof value === 'boolean') return 'true|false'
  if (typeof value === 'number') return 'NUMBER'
  if (Array.isArray(value)) return 'NETWORK[,NETWORK]'
  return value.startsWith('/') ? 'PATH' : 'TEXT'
}
