/**
 * Main's side of the services: takes in what changes, service by service, and hands out buffers for the path. The work is
 * that of the change, and a copy of what is small:
 *
 *   blocks      each service port's (service-block.ts), one behind the other. Only ever added to, beyond what the path
 *               has been told of; when the end is reached, those in use move to a larger buffer
 *   services    where the block of each service port begins: copied when one moved
 *   frontends   (frontend-map.ts) copied when a frontend came or went
 *
 * So what was handed out never changes, and what the path reads is consistent.
 */
import { parseAddress } from '../address.ts'
import { FrontendMap } from './frontend-map.ts'
import { blockOf, LENGTH } from './service-block.ts'
import type { ServiceBuffers, ServicePort } from './service-port.ts'

/** A service port, and its number among the services. */
interface Placed {
  readonly port: ServicePort
  readonly number: number
}

const BLOCK_WORDS_MIN = 1024
/** How much larger than needed the buffer of the blocks is made. */
const ROOM = 1.25

export class ServiceBuilder {
  readonly #services = new Map<string, readonly Placed[]>()
  readonly #freeNumbers: number[] = []
  /** By number; 0: none. */
  #begins = new Int32Array(64)
  #count = 0
  /** The first word is nobody's. */
  #blocks = new Int32Array(new SharedArrayBuffer(BLOCK_WORDS_MIN * 4))
  #end = 1
  #wordsInUse = 0
  #frontends = new FrontendMap()
  /** Some frontend is had by several: whoever comes first by name has it, which only a look at all of them can say. */
  #isContested = false
  #frontendsChanged = true
  #frontendsCopy: SharedArrayBuffer | undefined
  #built: ServiceBuffers | undefined

  /** The service of this name has these ports from now on; none: it is gone. Names decide who comes first. */
  set(name: string, ports: readonly ServicePort[]): void {
    const before = this.#services.get(name) ?? []
    if (before.length === ports.length && before.every(({ port }, i) => port === ports[i])) return
    this.#built = undefined
    for (const gone of before.slice(ports.length)) this.#remove(gone)
    if (ports.length === 0) this.#services.delete(name)
    else
      this.#services.set(
        name,
        ports.map((port, i) => this.#place(port, before[i])),
      )
  }

  /** The same buffers until something changes. */
  build(): ServiceBuffers {
    if (this.#built !== undefined) return this.#built
    if (this.#isContested && this.#frontendsChanged) this.#contest()
    const services = new SharedArrayBuffer(this.#count * 4)
    new Int32Array(services).set(this.#begins.subarray(0, this.#count))
    if (this.#frontendsChanged) this.#frontendsCopy = this.#frontends.copy()
    this.#frontendsChanged = false
    this.#built = { frontends: this.#frontendsCopy!, services, blocks: this.#blocks.buffer as SharedArrayBuffer }
    return this.#built
  }

  #place(port: ServicePort, before: Placed | undefined): Placed {
    if (before?.port === port) return before
    const placed = { port, number: before?.number ?? this.#freeNumbers.pop() ?? this.#count }
    this.#write(placed)
    if (before !== undefined && haveSameFrontends(before.port, port)) return placed
    if (before !== undefined) this.#removeFrontends(before)
    this.#addFrontends(placed)
    return placed
  }

  #remove(gone: Placed): void {
    this.#removeFrontends(gone)
    this.#release(gone.number)
    this.#freeNumbers.push(gone.number)
  }

  #write({ port, number }: Placed): void {
    const block = blockOf(port)
    this.#release(number)
    if (this.#end + block.length > this.#blocks.length) this.#moveBlocks(block.length)
    if (number >= this.#begins.length) {
      const begins = new Int32Array(this.#begins.length * 2)
      begins.set(this.#begins)
      this.#begins = begins
    }
    this.#blocks.set(block, this.#end)
    this.#begins[number] = this.#end
    this.#count = Math.max(this.#count, number + 1)
    this.#end += block.length
    this.#wordsInUse += block.length
  }

  #release(number: number): void {
    const begin = number < this.#count ? this.#begins[number]! : 0
    if (begin === 0) return
    this.#wordsInUse -= this.#blocks[begin + LENGTH]!
    this.#begins[number] = 0
  }

  #moveBlocks(extraWords: number): void {
    const from = this.#blocks
    const words = Math.max(BLOCK_WORDS_MIN, Math.ceil((1 + this.#wordsInUse + extraWords) * ROOM))
    this.#blocks = new Int32Array(new SharedArrayBuffer(words * 4))
    this.#end = 1
    for (let number = 0; number < this.#count; number++) {
      const begin = this.#begins[number]!
      if (begin === 0) continue
      const length = from[begin + LENGTH]!
      this.#blocks.set(from.subarray(begin, begin + length), this.#end)
      this.#begins[number] = this.#end
      this.#end += length
    }
  }

  #addFrontends({ port, number }: Placed): void {
    this.#frontendsChanged = true
    const frontends = this.#frontends
    for (const { address, port: at, sharesAddress } of port.frontends) {
      const words = parseAddress(address)
      const what = (at << 16) | port.protocol
      if (frontends.find(...words, what) === -1) frontends.set(words, what, number * 2)
      else this.#isContested = true
      // How many frontends have the address to themselves.
      if (!sharesAddress) frontends.set(words, 0, frontends.find(...words, 0) + 1)
    }
  }

  #removeFrontends({ port }: Placed): void {
    this.#frontendsChanged = true
    if (this.#isContested) return
    const frontends = this.#frontends
    for (const { address, port: at, sharesAddress } of port.frontends) {
      const words = parseAddress(address)
      frontends.remove(words, (at << 16) | port.protocol)
      if (sharesAddress) continue
      const others = frontends.find(...words, 0) - 1
      if (others === -1) frontends.remove(words, 0)
      else frontends.set(words, 0, others)
    }
  }

  /** Gives every frontend to the first of those who have it. */
  #contest(): void {
    this.#frontends = new FrontendMap()
    this.#isContested = false
    for (const name of [...this.#services.keys()].sort()) {
      for (const placed of this.#services.get(name)!) this.#addFrontends(placed)
    }
  }
}

function haveSameFrontends(one: ServicePort, other: ServicePort): boolean {
  if (one.protocol !== other.protocol || one.frontends.length !== other.frontends.length) return false
  return one.frontends.every((frontend, i) => {
    const { address, port, sharesAddress } = other.frontends[i]!
    return frontend.address === address && frontend.port === port && frontend.sharesAddress === sharesAddress
  })
}
