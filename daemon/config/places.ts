/** What is where before the configuration is read, for what must begin at once (handover/resume.ts). */
import { dirname } from 'node:path'

export const DEFAULT_CONFIG_FILE = '/etc/polder/polder.yaml'
export const DEFAULT_SOCKET = '/run/polder/polderd.sock'

/** As flags or environment say, else the default; a configuration file may say something else. */
export function socketAsCalled(argv: readonly string[], env: NodeJS.ProcessEnv): string {
  const { POLDER_SOCKET: fromEnvironment } = env
  const at = argv.findLastIndex((flag) => flag === '--socket' || flag.startsWith('--socket='))
  const flag = argv[at]?.includes('=') ? argv[at].slice('--socket='.length) : argv[at + 1]
  return (at < 0 ? fromEnvironment : flag) ?? DEFAULT_SOCKET
}

/** The flow table lies beside the socket. */
export function flowsPath(socket: string): string {
  return `${dirname(socket)}/flows`
}

/** So do the counters. */
export function countersPath(socket: string): string {
  return `${dirname(socket)}/counters`
}
