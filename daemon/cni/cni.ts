/**
 * A CNI call as the shim passes it on, specification 0.3.1 to 1.1.0: takes the environment (as HTTP headers, names in
 * lower case) and stdin, returns what goes to stdout and whether it is success. Here the command and its version are
 * found, VERSION is answered, and errors become CNI's; what the other verbs do is in verbs.ts.
 */
import { CniError, INCOMPATIBLE_VERSION, INVALID_ENVIRONMENT, toCniError } from './cni-error.ts'
import { CniEnvironment, type CniHeaders } from './environment.ts'
import { decodeConfig, versionOf } from './network-config.ts'
import { type CniOptions, VERBS } from './verbs.ts'
import { CNI_VERSIONS, type CniVersion, NEWEST_CNI_VERSION } from './versions.ts'

export interface CniAnswer {
  /** Exit status 0. */
  ok: boolean
  /** For stdout; empty where a successful verb has no result. */
  body: string
}

export type Cni = (headers: CniHeaders, body: string) => Promise<CniAnswer>

/** Verbs the specification has; which of them a version has is in versions.ts. */
const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION']

export function createCni(options: CniOptions): Cni {
  const { log } = options
  return async (headers, body) => {
    const startedMs = performance.now()
    const environment = new CniEnvironment(headers)
    const about = {
      command: headers['cni-command'],
      containerId: headers['cni-containerid'],
      ifName: headers['cni-ifname'],
    }
    let version = NEWEST_CNI_VERSION
    try {
      const command = commandOf(environment)
      if (command === 'VERSION') return { ok: true, body: encodeVersions(body) }
      const config = decodeConfig(body)
      version = versionOf(config)
      const verb = VERBS[command]
      if (verb === undefined || !version.commands.includes(command)) throw tooOld(command, version)
      const result = await verb({ environment, config, version }, options)
      // containerd asks for STATUS every five seconds.
      log[command === 'STATUS' ? 'debug' : 'info'](
        { ...about, ms: Math.round((performance.now() - startedMs) * 100) / 100 },
        'cni',
      )
      return { ok: true, body: result }
    } catch (error) {
      const { code, message, details } = toCniError(error)
      log.warn({ ...about, code, details }, `cni: ${message}`)
      return { ok: false, body: JSON.stringify({ cniVersion: version.version, code, msg: message, details }) }
    }
  }
}

function commandOf(environment: CniEnvironment): string {
  const { command } = environment
  if (COMMANDS.includes(command)) return command
  throw new CniError(INVALID_ENVIRONMENT, `CNI_COMMAND '${command}' is no CNI verb`, `one of ${COMMANDS.join(', ')}`)
}

function tooOld(command: string, { version }: CniVersion): CniError {
  const having = CNI_VERSIONS.filter((known) => known.commands.includes(command)).map((known) => known.version)
  return new CniError(
    INCOMPATIBLE_VERSION,
    `incompatible CNI version: ${version} has no ${command}`,
    `${command} needs cniVersion ${having.join(' or ')}`,
  )
}

/** Echoes the version asked with, also one that polder does not speak: the list says which it does. */
function encodeVersions(body: string): string {
  const asked = body.trim() === '' ? undefined : decodeConfig(body).cniVersion
  return JSON.stringify({
    cniVersion: typeof asked === 'string' && asked !== '' ? asked : NEWEST_CNI_VERSION.version,
    supportedVersions: CNI_VERSIONS.map(({ version }) => version),
  })
}
