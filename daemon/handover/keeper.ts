/**
 * The keeper process as a holder of descriptors: polderd's end of the protocol that stands in keeper/polder-keeper.c. It
 * is started where none answers, in the background and for itself, so that it outlives this process. Every exchange is
 * one message each way, synchronous, some 20 µs; a keeper that does not answer in a second is given up.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PolderError } from '../errors.ts'
import { closeFd, connectMessages, isConnected, receiveDescriptors, sendDescriptors } from '../nic/nic.ts'
import type { Holder } from './fd-store.ts'

const PROGRAM = fileURLToPath(new URL('../../build/polder-keeper', import.meta.url))
const GREETING = 'polder-keeper 1'
const PATIENCE_MS = 1000
const MESSAGE_BYTES_MAX = 512
/** A polderd that was killed a moment ago may still be connected. */
const BUSY_TRIES = 100
const BUSY_WAIT_MS = 20

/** The keeper's socket lies beside the API's. */
export function keeperPath(socket: string): string {
  return join(dirname(socket), 'keeper.sock')
}

export class Keeper implements Holder {
  readonly #path: string
  #fd = -1

  private constructor(path: string) {
    this.#path = path
  }

  /** Starts one where none answers. Throws `keeper-busy` where another polderd is connected to it. */
  static open(path: string): Keeper {
    const keeper = new Keeper(path)
    keeper.#connect()
    return keeper
  }

  /** Whether one answers. */
  static isAt(path: string): boolean {
    const keeper = Keeper.find(path)
    keeper?.close()
    return keeper !== undefined
  }

  /** Undefined where none answers. */
  static find(path: string): Keeper | undefined {
    const keeper = new Keeper(path)
    if (!existsSync(path) || !keeper.#reach()) return undefined
    return keeper
  }

  put(name: string, fd: number): void {
    const answer = this.#ask(`put ${name}`, fd)
    if (answer === 'ok') return
    throw new PolderError(
      'keeper-refused',
      `the keeper answers '${answer}' to ${name}`,
      answer === 'full' ? 'Raise the limit of open files (ulimit -Hn) that polderd is started with.' : 'Report it.',
    )
  }

  remove(name: string): void {
    this.#ask(`remove ${name}`)
  }

  /** Opens a descriptor here for each that it holds. */
  list(): Map<string, number> {
    const found = new Map<string, number>()
    this.#say('list')
    for (;;) {
      const { text, fd } = this.#hear()
      if (text === 'all') return found
      if (fd !== undefined && text.startsWith('descriptor ')) found.set(text.slice('descriptor '.length), fd)
    }
  }

  /** It closes what it holds, and ends. */
  end(): void {
    this.#ask('end')
    this.close()
  }

  isThere(): boolean {
    return this.#fd >= 0 && isConnected(this.#fd)
  }

  renew(): void {
    this.close()
    this.#connect()
    // One that was only given up may have answered again: what it still has is put anew by name.
    for (const fd of this.list().values()) closeFd(fd)
  }

  close(): void {
    if (this.#fd >= 0) closeFd(this.#fd)
    this.#fd = -1
  }

  #connect(): void {
    if (!this.#reach()) {
      execFileSync(PROGRAM, [this.#path], { cwd: '/', env: {}, stdio: ['ignore', 'ignore', 'pipe'] })
      if (!this.#reach()) throw new Error(`the keeper was started and does not answer on ${this.#path}`)
    }
  }

  /** False where nobody listens. */
  #reach(): boolean {
    for (let tries = 0; tries < BUSY_TRIES; tries++) {
      if (tries > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_WAIT_MS)
      try {
        this.#fd = connectMessages(this.#path, PATIENCE_MS)
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'ENOENT' || code === 'ECONNREFUSED') return false
        throw error
      }
      const { text } = this.#hear()
      if (text === GREETING) return true
      this.close()
      if (text !== 'busy') throw new Error(`what answers on ${this.#path} is no keeper of this version`)
    }
    throw new PolderError(
      'keeper-busy',
      `another polderd is connected to the keeper at ${this.#path}`,
      'Stop that one first, or give this one a socket of its own (--socket).',
    )
  }

  #ask(text: string, fd?: number): string {
    this.#say(text, fd)
    return this.#hear().text
  }

  #say(text: string, fd?: number): void {
    this.#orGiveUp(() => sendDescriptors(this.#fd, Buffer.from(text), Int32Array.from(fd === undefined ? [] : [fd])))
  }

  #hear(): { text: string; fd: number | undefined } {
    const bytes = Buffer.alloc(MESSAGE_BYTES_MAX)
    const fds = new Int32Array(1)
    const length = this.#orGiveUp(() => receiveDescriptors(this.#fd, bytes, fds))
    if (length === 0) {
      this.close()
      throw new Error('the keeper has gone')
    }
    return { text: bytes.toString('utf8', 0, length), fd: fds[0]! < 0 ? undefined : fds[0]! }
  }

  /** After a failure nobody knows whose turn it is to speak. */
  #orGiveUp<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      this.close()
      throw error
    }
  }
}
