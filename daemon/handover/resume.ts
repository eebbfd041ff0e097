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
import type { ServiceBuffers } from '../../packet/tables/service-port.ts'
import type { Config } from '../config/config.ts'
import { countersPath, DEFAULT_CONFIG_FILE, flowsPath, socketAsCalled } from '../config/places.ts'
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
const FORMAT = 3
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
  pods: { name: string; addresses: string[] }[]
  /** Bytes of each of the services' buffers, which follow behind this in the file. */
  serviceBytes: [name: keyof ServiceBuffers, bytes: number][]
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
  const bootId = readBootId()
  const flows = { path: flowsPath(config.socket), capacity: config.maxFlows, bootId, log }
  const counters = { path: countersPath(config.socket), bootId }
  return new DataPlane({ poisonFolder: `${config.stateDir}/poison`, flows, counters, log })
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
  dataPlane.onAdopted(REMEMBER_AFTER_MS, ({ surroundings, services }, inUse) => {
    const names = new Map(Array.from(fdStore.held(), ([name, fd]) => [fd, name]))
    const pods = inUse.flatMap(({ fd, addresses }) => {
      const name = names.get(fd)
      return name === undefined ? [] : [{ name, addresses }]
    })
    const remembered = { identity, configFile, config, underlay, surroundings, pods }
    try {
      replaceUntilReboot(resumePath(config.socket), packed(remembered, services), 0o600)
    } catch (error) {
      log.warn({ err: error }, 'what the data path works by is not remembered: packets would wait longer at a restart')
    }
  })
}

/** One line of JSON, then the services as they lie in memory: there may be many thousands of them. */
function packed(remembered: Omit<Remembered, 'serviceBytes'>, services: ServiceBuffers): Uint8Array {
  const buffers = Object.entries(services) as [keyof ServiceBuffers, SharedArrayBuffer][]
  const serviceBytes = buffers.map(([name, { byteLength }]) => [name, byteLength])
  const line = Buffer.from(`${JSON.stringify({ ...remembered, serviceBytes })}\n`)
  return Buffer.concat([line, ...buffers.map(([, buffer]) => new Uint8Array(buffer))])
}

function unpacked(bytes: Buffer): Remembered & { services: ServiceBuffers } {
  let at = bytes.indexOf('\n') + 1
  const remembered = JSON.parse(bytes.toString('utf8', 0, at)) as Remembered
  const buffers = remembered.serviceBytes.map(([name, length]) => {
    const buffer = new SharedArrayBuffer(length)
    new Uint8Array(buffer).set(bytes.subarray(at, at + length))
    at += length
    return [name, buffer]
  })
  return { ...remembered, services: Object.fromEntries(buffers) }
}

function recall(path: string, argv: string[], env: NodeJS.ProcessEnv): ReturnType<typeof unpacked> | undefined {
  try {
    const remembered = unpacked(readFileSync(path))
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
  { config, underlay, surroundings, services }: ReturnType<typeof unpacked>,
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
