/**
 * The CNI verbs, as the shim passes them on: ADD, DEL, CHECK, VERSION of specification 0.3.1 to 1.0.0. Takes the
 * environment (as HTTP headers, names in lower case) and stdin, returns what goes to stdout and whether it is success.
 *
 * polder may stand anywhere in a chain: what an earlier plugin made passes through, and its own interface comes
 * after it. What an attachment is and how it is made is not known here (daemon/attachments).
 */
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'
import {
  CHECK_FAILED,
  CniError,
  INCOMPATIBLE_VERSION,
  INVALID_ENVIRONMENT,
  INVALID_NETWORK_CONFIG,
  toCniError,
  UNKNOWN_CONTAINER,
} from './cni-error.ts'
import { CniEnvironment, type CniHeaders } from './environment.ts'
import { decodeConfig, type RawConfig, validateConfig, versionOf } from './network-config.ts'
import { encodeResult } from './result.ts'
import type { Spool } from './spool.ts'
import { CNI_VERSIONS, type CniVersion, NEWEST_CNI_VERSION } from './versions.ts'

export interface CniOptions {
  attachments: Attachments
  spool: Spool
  log: Logger
}

export interface CniAnswer {
  /** Exit status 0. */
  ok: boolean
  /** For stdout; empty where a successful verb has no result. */
  body: string
}

export type Cni = (headers: CniHeaders, body: string) => Promise<CniAnswer>

interface Call {
  environment: CniEnvironment
  config: RawConfig
  version: CniVersion
}

/** Verbs the specification has; which of them a version has is in versions.ts. */
const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION']

export function createCni({ attachments, spool, log }: CniOptions): Cni {
  async function add({ environment, config, version }: Call): Promise<string> {
    environment.require('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME')
    const { containerId, ifName, netns, pod } = environment
    const network = validateConfig(config)
    await spool.settle(containerId, ifName)
    const request = { containerId, ifName, netns, network: network.name, ...(pod && { pod }) }
    const attachment = await attachments.add(request)
    return encodeResult(version, network, attachment, attachments.gateways)
  }

  async function del({ environment }: Call): Promise<string> {
    environment.require('CNI_CONTAINERID', 'CNI_IFNAME')
    await attachments.remove(environment.containerId, environment.ifName)
    return ''
  }

  async function check({ environment, config }: Call): Promise<string> {
    environment.require('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME')
    const { containerId, ifName } = environment
    const { prevResult } = validateConfig(config)
    if (prevResult === undefined) {
      throw new CniError(INVALID_NETWORK_CONFIG, 'CHECK without prevResult', 'the runtime must pass the result of ADD')
    }
    if (attachments.get(containerId, ifName) === undefined) {
      throw new CniError(UNKNOWN_CONTAINER, `container ${containerId} is not attached as ${ifName}`, 'recreate the pod')
    }
    const { addresses } = await attachments.check(containerId, ifName)
    const known = new Set(prevResult.ips.map((ip) => ip.address.split('/')[0]))
    const unknown = addresses.filter((address) => !known.has(address))
    if (unknown.length > 0) {
      throw new CniError(CHECK_FAILED, `prevResult does not have ${unknown.join(', ')}`, 'recreate the pod')
    }
    return ''
  }

  const verbs: Record<string, (call: Call) => Promise<string>> = { ADD: add, DEL: del, CHECK: check }

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
      const verb = verbs[command]
      if (verb === undefined || !version.commands.includes(command)) throw tooOld(command, version)
      const result = await verb({ environment, config, version })
      log.info({ ...about, ms: Math.round((performance.now() - startedMs) * 100) / 100 }, 'cni')
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
    having.length > 0
      ? `${command} needs cniVersion ${having.join(' or ')}`
      : `polder speaks no version with ${command}`,
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
