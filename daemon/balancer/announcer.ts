/**
 * Answers on the underlay for the addresses of Services of type LoadBalancer: at most one node for each (choice.ts), by a
 * lease (cluster/leases.ts), from polderd itself, so that nobody answers for a polderd that is dead. Who takes an address
 * tells the link so, several times, and those who had it elsewhere go on with the new one.
 *
 * Every TURN_MS: say that we live, look who else does, give and take. A node whose data path does not work, or whose link
 * is down, says nothing, and loses what it has to another. While there is no such address nothing at all is done.
 *
 * What an announced address leads to is the data path's affair: every node serves it, whoever announces it.
 */
import type { Logger } from 'pino'
import type { Leases, LeaseView } from '../cluster/leases.ts'
import { Netlink } from '../netlink/netlink.ts'
import { type BalancedAddress, chooseAnnouncer } from './choice.ts'
import { LinkSocket } from './link-socket.ts'
import { announcementsOf, answerTo, type Heard, macBytes } from './neighbour-frames.ts'

export interface AnnouncerOptions {
  node: string
  leases: Leases
  /** Its interface may become another. */
  underlay: { interface: string }
  /** Every address that must be answered for by some node. */
  wanted: () => readonly BalancedAddress[]
  /** Whether the data path is at work. */
  works: () => boolean
  log: Logger
}

const TURN_MS = 300
/** Linux takes no second word about a neighbour within a second (RFC 5227 asks for two, 2 s apart). */
const ANNOUNCEMENTS = 8

export class Announcer {
  readonly #options: AnnouncerOptions
  readonly #netlink = new Netlink()
  readonly #socket: LinkSocket
  /** How often each address must still be announced. */
  readonly #left = new Map<string, number>()
  readonly #rivals = new Set<string>()
  #mac: Uint8Array | undefined
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> | undefined
  #trouble: string | undefined

  constructor(options: AnnouncerOptions) {
    this.#options = options
    this.#socket = new LinkSocket((heard) => this.#answer(heard))
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#look(), TURN_MS)
    this.#look()
  }

  /** Says nothing more until start(): a successor does, as the same node. The leases stay. */
  async pause(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#turn
    this.#socket.close()
    this.#left.clear()
  }

  /** The leases run out, unless a polderd of this node comes back before. */
  async stop(): Promise<void> {
    await this.pause()
    this.#netlink.close()
  }

  #look(): void {
    // One that takes longer is not overtaken.
    this.#turn ??= this.#goAround()
      .then(() => {
        this.#trouble = undefined
      })
      .catch((error) => this.#say(error))
      .finally(() => {
        this.#turn = undefined
      })
  }

  async #goAround(): Promise<void> {
    const { leases, wanted, works } = this.#options
    const addresses = wanted()
    if (addresses.length === 0 && leases.held.size === 0) return this.#socket.close()
    const link = this.#netlink.link(this.#options.underlay.interface)
    this.#mac = link?.mac === undefined ? undefined : macBytes(link.mac)
    if (!works() || link === undefined || !link.lowerUp || this.#mac?.length !== 6) return this.#socket.close()
    const before = new Set(leases.mayAnswer() ? leases.held : [])
    const view = await leases.beat()
    await this.#giveAndTake(addresses, view)
    if (this.#timer === undefined) return
    this.#socket.listenFor([...leases.held], link.index)
    for (const address of leases.held) {
      if (!before.has(address)) this.#begin(address)
      this.#announce(address)
    }
  }

  async #giveAndTake(addresses: readonly BalancedAddress[], { alive, holders }: LeaseView): Promise<void> {
    const { node, leases, log } = this.#options
    const ours = new Map(addresses.map((one) => [one.address, one]))
    for (const address of leases.held) {
      const balanced = ours.get(address)
      if (balanced !== undefined && chooseAnnouncer(balanced, alive, node) === node) continue
      await leases.give(address)
      log.info({ address }, 'another node answers for a load balancer address, or none does')
    }
    const due = addresses.filter(
      (one) => !leases.held.has(one.address) && chooseAnnouncer(one, alive, holders.get(one.address)) === node,
    )
    if (due.length > 0) await leases.take(due.map(({ address }) => address))
    if (addresses.length === 0 && leases.held.size === 0) await leases.resign()
  }

  #begin(address: string): void {
    this.#left.set(address, ANNOUNCEMENTS)
    this.#options.log.info({ address }, 'this node answers for a load balancer address')
  }

  #announce(address: string): void {
    const left = this.#left.get(address) ?? 0
    if (left === 0 || !this.#options.leases.mayAnswer()) return
    this.#left.set(address, left - 1)
    for (const frame of announcementsOf(address, this.#mac!)) this.#socket.send(frame)
  }

  #answer(heard: Heard): void {
    const { leases } = this.#options
    if (this.#mac === undefined || !leases.held.has(heard.address) || !leases.mayAnswer()) return
    if (heard.kind === 'question') this.#socket.send(answerTo(heard, this.#mac))
    else if (!sameBytes(heard.mac, this.#mac)) this.#noteRival(heard)
  }

  /** Somebody who knows nothing of our leases. */
  #noteRival({ address, mac }: Heard): void {
    const rival = Buffer.from(mac)
      .toString('hex')
      .replace(/..(?!$)/g, '$&:')
    if (this.#rivals.has(`${address} ${rival}`)) return
    this.#rivals.add(`${address} ${rival}`)
    this.#options.log.warn({ address, mac: rival }, 'another machine says that it has a load balancer address')
  }

  /** Once for each reason. */
  #say(error: Error): void {
    if (this.#trouble === error.message) return
    this.#trouble = error.message
    this.#options.log.error({ err: error }, 'load balancer addresses cannot be answered for now')
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.every((byte, i) => byte === other[i])
}
