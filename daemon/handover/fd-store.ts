/**
 * The descriptors that must outlive this process, each under a name: polder0's, every pod's TUN, the underlay's socket.
 * While somebody holds them, devices keep their carrier and queue packets, and the socket's buffer takes in what peers
 * send; a polderd that starts claims them and goes on where the last one stopped.
 *
 * Who holds them is one of two (Holder): systemd (systemd.ts), or the keeper process (keeper.ts). Nothing here fails
 * for want of it: without a holder a restart loses the packets in between, as it is said in the log.
 */
import type { Logger } from 'pino'
import { closeFd } from '../nic/nic.ts'

/** Keeps a second reference to descriptors, beyond the life of this process. */
export interface Holder {
  /** In place of what has this name. Throws where it cannot; the descriptor stays the caller's in any case. */
  put(name: string, fd: number): void
  remove(name: string): void
  /** False where it has gone and must be given everything anew. */
  isThere(): boolean
  /** Makes it anew, empty. */
  renew(): void
  /** Lets go of the connection to it; what it holds it goes on holding. */
  close(): void
}

/** The names of those that every node has. */
export const HOST_DESCRIPTOR = 'host'
export const UNDERLAY_DESCRIPTOR = 'underlay'

const LOOK_INTERVAL_MS = 1000

export class FdStore {
  readonly #holder: Holder | undefined
  readonly #log: Logger
  readonly #close: (fd: number) => void
  /** What an earlier polderd left, until it is claimed. */
  readonly #found: Map<string, number>
  /** What is in use here, and held there too. */
  readonly #held = new Map<string, number>()
  readonly #timer: NodeJS.Timeout | undefined
  #trouble: string | undefined
  /** A successor may be using the holder now. */
  #isLent = false

  /**
   * `found`: descriptors that are open in this process, and that the holder has under the same names. `close` closes one
   * that is of no use, and may be in use all the same (resume.ts).
   */
  constructor(holder: Holder | undefined, found: Map<string, number>, log: Logger, close = closeFd) {
    this.#holder = holder
    this.#found = found
    this.#log = log
    this.#close = close
    if (holder !== undefined) this.#timer = setInterval(() => this.#look(), LOOK_INTERVAL_MS).unref()
  }

  /** The descriptor of this name, from now on the caller's, if it was left and is what `isIt` says. */
  claim(name: string, isIt: (fd: number) => boolean): number | undefined {
    const fd = this.#found.get(name)
    if (fd === undefined) return undefined
    this.#found.delete(name)
    if (isIt(fd)) {
      this.#held.set(name, fd)
      return fd
    }
    this.#log.warn({ name }, 'a descriptor that was kept is not what its name says: it is closed')
    this.#close(fd)
    this.#try(name, (holder) => holder.remove(name))
    return undefined
  }

  /** One that was left and nobody has claimed yet. It may be used, and must be claimed later all the same. */
  peek(name: string): number | undefined {
    return this.#found.get(name)
  }

  /** To be held from now on. Must be removed before it is closed. */
  put(name: string, fd: number): void {
    this.#held.set(name, fd)
    this.#try(name, (holder) => holder.put(name, fd))
  }

  remove(name: string): void {
    if (!this.#held.delete(name)) return
    this.#try(name, (holder) => holder.remove(name))
  }

  /** Removes what is in use, if it is, and closes it. */
  discard(name: string): void {
    const fd = this.#held.get(name)
    if (fd === undefined) return
    this.remove(name)
    this.#close(fd)
  }

  /** What nobody has claimed belongs to pods that are gone. */
  closeLeftovers(): void {
    for (const [name, fd] of this.#found) {
      this.#log.info({ name }, 'a descriptor was kept for something that is gone: it is closed')
      this.#close(fd)
      this.#try(name, (holder) => holder.remove(name))
    }
    this.#found.clear()
  }

  /** All that is in use, by name. */
  held(): Map<string, number> {
    return this.#held
  }

  /** A successor may take everything from the holder: until takeBack() nothing here speaks to it. */
  lend(): void {
    this.#isLent = true
    this.#holder?.close()
  }

  /** What the successor may have changed there is as it was. */
  takeBack(): void {
    this.#isLent = false
    if (this.#holder === undefined) return
    try {
      this.#holder.renew()
    } catch (error) {
      this.#say(error as Error)
    }
    for (const [name, fd] of this.#held) this.#try(name, (holder) => holder.put(name, fd))
  }

  /** Everything in use stays held. */
  close(): void {
    clearInterval(this.#timer)
    this.#holder?.close()
  }

  #look(): void {
    if (this.#isLent || this.#holder!.isThere()) return
    try {
      this.#holder!.renew()
    } catch (error) {
      this.#say(error as Error)
      return
    }
    this.#log.warn(`what keeps descriptors had gone: it is back, and has all ${this.#held.size} again`)
    this.#trouble = undefined
    for (const [name, fd] of this.#held) this.#try(name, (holder) => holder.put(name, fd))
  }

  #try(name: string, work: (holder: Holder) => void): void {
    try {
      if (!this.#isLent && this.#holder?.isThere()) work(this.#holder)
    } catch (error) {
      this.#say(error as Error, name)
    }
  }

  /** Once for each reason. */
  #say(error: Error, name?: string): void {
    if (this.#trouble === error.message) return
    this.#trouble = error.message
    this.#log.error({ err: error, name }, 'a descriptor is not kept: packets will be lost while polderd restarts')
  }
}
