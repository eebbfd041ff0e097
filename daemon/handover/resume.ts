/**
 * Packets flow again before polderd is there again. While it runs it remembers, in a file beside its socket, what its
 * data path works by. A polderd that is started the same way finds the descriptors that were kept (fd-store.ts) and goes
 * on by that at once: before the configuration is read and most of its own code is loaded, which takes some 400 ms.
 *
 * What has changed meanwhile is found out as at any other start, and adopted then. The file is used up: where a start fails,
 * the next one does without. It begins nothing where anything is not as it was: another boot, version, namespace,
 * flag, variable, host name or configuration file; nor does it make a device or find out an address.
 */
import { readFileSync, readlinkSync, rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type Logger, pino } from 'pino'
import type { ServicePort } from '../../packet/tables/services.ts'
import type { Config } from '../config/config.ts'
import { DEFAULT_CONFIG_FILE, flowsPath, socketAsCalled } from '../config/places.ts'
import { TASK_FLAGS } from '../config/task.ts'
import { openSenders, type Underlay, underlayBytes } from '../control/underlay.ts'
import { DataPlane, type DataPlaneStart, type Surroundings } from '../dataplane/dataplane.ts'
import { replaceUntilReboot } from '../files/atomic-file.ts'
import { readBootId } from '../files/boot-id.ts'
import { HOST_DEVICE } from '../host/device-name.ts'
import { isTun, isUnderlay } from '../nic/nic.ts'
import { VERSION } from '../version.ts'
import { type FdStore, HOST_DESCRIPTOR, UNDERLAY_DESCRIPTOR } from './fd-store.ts'
import { openFdStore } from './open.ts'
import { passedDescriptors, Systemd } from './systemd.ts'

/** Raised when what is remembered has another shape. */
const FORMAT = 2
/** Changes that come together are remembered together. */
const REMEMBER_AFTER_MS = 20

/** What systemd gave this process at its start, where it is a service. */
export interface Service {
  systemd: Systemd | undefined
  passed: Map<string, number>
}

/** A data path that is at work, with its descriptors. */
export interface Resumed {
  dataPlane: DataPlane
  fdStore: FdStore
}

/** How polderd was started. */
export interface Called {
  argv: string[]
  env: NodeJS.ProcessEnv
  configFile: string | undefined
}

interface Remembered {
  identity: unknown
  configFile: string
  config: Config
  underlay: Underlay
  surroundings: Surroundings
  services: readonly ServicePort[]
  pods: { name: string; addresses: string[] }[]
}

export function resumePath(socket: string): string {
  return join(dirname(socket), 'resume')
}

/** Takes what systemd gives out of the environment. */
export function serviceOf(env: NodeJS.ProcessEnv): Service {
  return { systemd: Systemd.from(env), passed: passedDescriptors(env) }
}

/** Undefined where nothing is remembered, or not all is as it was. Throws `keeper-busy` where another polderd runs. */
export function resume(argv: string[], env: NodeJS.ProcessEnv, service: Service): Resumed | undefined {
  const path = resumePath(socketAsCalled(argv, env))
  const remembered = recall(path, argv, env)
  if (remembered === undefined || process.getuid?.() !== 0) return undefined
  const { config } = remembered
  const log = pino({ level: config.logLevel, base: { node: config.nodeName } })
  const dataPlane = prepareDataPlane(config, log)
  const close = (fd: number): void => dataPlane.discard(fd)
  const fdStore = openFdStore({ config, ...service, lentAt: undefined, close, log })
  rmSync(path)
  const start = startOf(remembered, fdStore)
  if (start !== undefined) {
    const pods = remembered.pods.flatMap(({ name, addresses }) => {
      const fd = fdStore.peek(name)
      return fd === undefined ? [] : [{ fd, addresses }]
    })
    dataPlane.resume(start, pods)
    log.info({ pods: pods.length }, 'packets flow again, as they did before')
  }
  return { dataPlane, fdStore }
}

export function prepareDataPlane(config: Config, log: Logger): DataPlane {
  const flows = { path: flowsPath(config.socket), capacity: config.maxFlows, bootId: readBootId(), log }
  return new DataPlane({ poisonFolder: `${config.stateDir}/poison`, flows, log })
}

/** From now on what the data path works by is remembered for the next polderd. */
export function rememberForResume(
  { argv, env, configFile = DEFAULT_CONFIG_FILE }: Called,
  config: Config,
  underlay: Underlay,
  { dataPlane, fdStore }: Resumed,
  log: Logger,
): void {
  const identity = identityOf(
    argv.filter((flag) => !TASK_FLAGS.includes(flag)),
    env,
    configFile,
  )
  dataPlane.onAdopted(REMEMBER_AFTER_MS, (works, inUse) => {
    const names = new Map(Array.from(fdStore.held(), ([name, fd]) => [fd, name]))
    const pods = inUse.flatMap(({ fd, addresses }) => {
      const name = names.get(fd)
      return name === undefined ? [] : [{ name, addresses }]
    })
    const remembered: Remembered = { identity, configFile, config, underlay, ...works, pods }
    try {
      replaceUntilReboot(resumePath(config.socket), JSON.stringify(remembered), 0o600)
    } catch (error) {
      log.warn({ err: error }, 'what the data path works by is not remembered: packets would wait longer at a restart')
    }
  })
}

function recall(path: string, argv: string[], env: NodeJS.ProcessEnv): Remembered | undefined {
  try {
    const remembered = JSON.parse(readFileSync(path, 'utf8')) as Remembered
    const identity = JSON.parse(JSON.stringify(identityOf(argv, env, remembered.configFile)))
    return isDeepStrictEqual(remembered.identity, identity) ? remembered : undefined
  } catch {
    return undefined
  }
}

/** All that must be the same, or the remembered configuration could be another than the one that will be read. */
function identityOf(argv: string[], env: NodeJS.ProcessEnv, configFile: string): unknown {
  const variables = Object.entries(env).filter(([name]) => name.startsWith('POLDER_'))
  const namespace = readlinkSync('/proc/self/ns/net')
  return [FORMAT, VERSION, readBootId(), namespace, hostname(), argv, variables.sort(), textOf(configFile)]
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

/** Undefined where a descriptor is not there, or the node has another address now. */
function startOf(
  { config, underlay, surroundings, services }: Remembered,
  fdStore: FdStore,
): DataPlaneStart | undefined {
  const hostFd = fdStore.peek(HOST_DESCRIPTOR)
  const underlayFd = fdStore.peek(UNDERLAY_DESCRIPTOR)
  if (hostFd === undefined || underlayFd === undefined || !isTun(hostFd, -1, HOST_DEVICE)) return undefined
  if (!isUnderlay(underlayFd, underlayBytes(underlay), config.vxlanPort)) return undefined
  try {
    return { hostFd, underlayFd, senderFds: openSenders(underlay), surroundings, services }
  } catch {
    return undefined
  }
}
