/**
 * What systemd and polderd say to each other, without a library: sd_notify(3) datagrams out, and the descriptors of the
 * unit's store in, which a starting service finds open from number 3 on (sd_listen_fds(3), FileDescriptorStoreMax=).
 * systemd answers nothing; it drops what it has no room for.
 */
import { closeFd, notifySocket } from '../nic/nic.ts'
import type { Holder } from './fd-store.ts'

const FIRST_DESCRIPTOR = 3
/** FDNAME= takes printable ASCII but the colon, 255 bytes at most. */
const ENCODED = /[^\x21-\x24\x26-\x39\x3b-\x7e]/gu

export class Systemd {
  readonly #path: string
  /** How long this process may be silent; undefined where nobody watches. */
  readonly watchdogMs: number | undefined

  private constructor(path: string, watchdogMs: number | undefined) {
    this.#path = path
    this.watchdogMs = watchdogMs
  }

  /**
   * Undefined where nobody is to be notified. Takes the variables out of the environment: no child of polderd is the
   * service.
   */
  static from(environment: NodeJS.ProcessEnv): Systemd | undefined {
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = environment
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name]
    if (!path) return undefined
    const isWatched = Number(microseconds) > 0 && (pid === undefined || Number(pid) === process.pid)
    return new Systemd(path, isWatched ? Number(microseconds) / 1000 : undefined)
  }

  get path(): string {
    return this.#path
  }

  /** Assignments as of sd_notify(3): READY=1, STATUS=…. Never throws: systemd may have gone, as in a container. */
  notify(...assignments: string[]): void {
    try {
      this.#send(assignments)
    } catch {
      // Nobody is there to be told.
    }
  }

  /**
   * This process is the service from now on, and works. Says so again in half of the time that it may be silent, as
   * long as `works` answers true; `watchdogMs` where the environment says nothing of it.
   */
  ready(watchdogMs: number | undefined, works: () => boolean): void {
    this.notify(`MAINPID=${process.pid}`, 'READY=1', 'STATUS=packets are carried')
    const patienceMs = this.watchdogMs ?? watchdogMs
    if (patienceMs === undefined) return
    setInterval(() => {
      if (works()) this.notify('WATCHDOG=1')
    }, patienceMs / 2).unref()
  }

  /** The store of the unit. */
  holder(): Holder {
    return {
      // Not watched by systemd, which would drop a socket for an error that is none of its end (FDPOLL=0).
      put: (name, fd) => {
        this.#send(['FDSTOREREMOVE=1', `FDNAME=${encode(name)}`])
        this.#send(['FDSTORE=1', `FDNAME=${encode(name)}`, 'FDPOLL=0'], fd)
      },
      remove: (name) => this.#send(['FDSTOREREMOVE=1', `FDNAME=${encode(name)}`]),
      isThere: () => true,
      renew: () => {},
      close: () => {},
    }
  }

  #send(assignments: string[], fd?: number): void {
    notifySocket(this.#path, Buffer.from(assignments.join('\n')), Int32Array.from(fd === undefined ? [] : [fd]))
  }
}

/** What the service manager passed to this process, by name; takes the variables out of the environment. */
export function passedDescriptors(environment: NodeJS.ProcessEnv): Map<string, number> {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names = '' } = environment
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name]
  const passed = new Map<string, number>()
  if (Number(pid) !== process.pid) return passed
  const list = names.split(':')
  for (let i = 0; i < Number(count); i++) {
    const name = decode(list[i] ?? `unknown ${i}`)
    const twin = passed.get(name)
    if (twin !== undefined) closeFd(twin)
    passed.set(name, FIRST_DESCRIPTOR + i)
  }
  return passed
}

function encode(name: string): string {
  return name.replace(ENCODED, (character) => encodeURIComponent(character))
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}
