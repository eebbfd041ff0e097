/**
 * Traffic between two pods that lasts as long as a test wants (traffic/main.c): one TCP transfer, many TCP connections
 * with small requests, numbered UDP. Each says at any time what it saw.
 */
import { compiled } from './c-programs.ts'
import { LineProgram } from './line-program.ts'
import type { Place } from './netns.ts'

export interface BulkReport {
  bytes: number
  hash: string
  /** `clean` once the other end has ended after all bytes; an error's words; `open` before. */
  end: string
  /** Since the last report; of the receiver. */
  longestGapMs: number
}

export interface SteadyReport {
  connections: number
  lost: number
  /** Why the last one was lost. */
  why: string
  answered: number
  /** Answers that were not the request. */
  changed: number
  /** From a request to its answer, since the last report, those included that still wait. */
  longestStallMs: number
  /** How long the one has waited that waits longest. */
  waitingMs: number
}

export interface NumberedReport {
  received: number
  duplicates: number
  /** Overtaken by a later one. */
  reordered: number
  /** Of another content than was sent. */
  changed: number
  /** One more than the highest number seen. */
  highest: number
  /** Since the last report. */
  longestGapMs: number
}

export interface SentReport {
  sent: number
  refused: number
}

/** One end of it, a process in a namespace. */
export class TrafficEnd<Report> {
  readonly #program: LineProgram

  private constructor(program: LineProgram) {
    this.#program = program
  }

  /** Resolves once it listens, or is connected. */
  static async start<Report>(place: Place, ...words: (string | number)[]): Promise<TrafficEnd<Report>> {
    return new TrafficEnd<Report>(await LineProgram.start(place, compiled('traffic'), ...words))
  }

  async report(): Promise<Report> {
    return JSON.parse(await this.#program.ask('')) as Report
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]()
  }

  /** Brings it to a clean end; the last report. */
  async finish(): Promise<Report> {
    return JSON.parse(await this.#program.finish()) as Report
  }
}

const BULK_PORT = 7001
const STEADY_PORT = 7002
const NUMBERED_PORT = 7003

export interface Site {
  netns: Place
  v4: string
  v6: string
}

export interface TrafficPlan {
  bulkMbit: number
  connections: number
  requestIntervalMs: number
  datagramsPerSecond: number
  datagramBytes: number
  /** The address family of all of it. */
  family: 'v4' | 'v6'
}

export interface TrafficSeen {
  bulk: BulkReport
  steady: SteadyReport
  numbered: NumberedReport
  sent: SentReport
}

export interface Longest {
  bulkGapMs: number
  stallMs: number
  udpGapMs: number
}

/** All three kinds at once, from one pod to another. */
export class Traffic {
  readonly #bulk: [TrafficEnd<BulkReport>, TrafficEnd<BulkReport>]
  readonly #steady: [TrafficEnd<unknown>, TrafficEnd<SteadyReport>]
  readonly #numbered: [TrafficEnd<NumberedReport>, TrafficEnd<SentReport>]
  readonly #watches = new Set<Longest>()

  private constructor(
    bulk: [TrafficEnd<BulkReport>, TrafficEnd<BulkReport>],
    steady: [TrafficEnd<unknown>, TrafficEnd<SteadyReport>],
    numbered: [TrafficEnd<NumberedReport>, TrafficEnd<SentReport>],
  ) {
    this.#bulk = bulk
    this.#steady = steady
    this.#numbered = numbered
  }

  /** `from` connects and sends, `to` serves. Resolves once everything is connected. */
  static async start(from: Site, to: Site, plan: TrafficPlan): Promise<Traffic> {
    const address = to[plan.family]
    const { bulkMbit, connections, requestIntervalMs, datagramsPerSecond, datagramBytes } = plan
    const [bulk, steady, numbered] = await Promise.all([
      TrafficEnd.start<BulkReport>(to.netns, 'bulk-receive', BULK_PORT),
      TrafficEnd.start<unknown>(to.netns, 'steady-serve', STEADY_PORT),
      TrafficEnd.start<NumberedReport>(to.netns, 'numbered-receive', NUMBERED_PORT),
    ])
    const asking = ['steady-ask', address, STEADY_PORT, connections, requestIntervalMs]
    const numbering = ['numbered-send', address, NUMBERED_PORT, datagramsPerSecond, datagramBytes]
    const [bulkSender, asker, sender] = await Promise.all([
      TrafficEnd.start<BulkReport>(from.netns, 'bulk-send', address, BULK_PORT, bulkMbit),
      TrafficEnd.start<SteadyReport>(from.netns, ...asking),
      TrafficEnd.start<SentReport>(from.netns, ...numbering),
    ])
    return new Traffic([bulk, bulkSender], [steady, asker], [numbered, sender])
  }

  /** Ends what has not come to its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ends = [...this.#bulk, ...this.#steady, ...this.#numbered]
    await Promise.all(ends.map((end) => end[Symbol.asyncDispose]()))
  }

  /** What was seen so far; the longest stall and gaps are those since the last report. */
  async report(): Promise<TrafficSeen> {
    const seen = await this.#ask()
    for (const longest of this.#watches) {
      longest.bulkGapMs = Math.max(longest.bulkGapMs, seen.bulk.longestGapMs)
      longest.stallMs = Math.max(longest.stallMs, seen.steady.longestStallMs)
      longest.udpGapMs = Math.max(longest.udpGapMs, seen.numbered.longestGapMs)
    }
    return seen
  }

  /** The longest of all reports from now on, until `unwatch`. */
  watch(): Longest {
    const longest = { bulkGapMs: 0, stallMs: 0, udpGapMs: 0 }
    this.#watches.add(longest)
    return longest
  }

  unwatch(longest: Longest): void {
    this.#watches.delete(longest)
  }

  async #ask(): Promise<TrafficSeen> {
    const [bulk, steady, numbered, sent] = await Promise.all([
      this.#bulk[0].report(),
      this.#steady[1].report(),
      this.#numbered[0].report(),
      this.#numbered[1].report(),
    ])
    return { bulk, steady, numbered, sent }
  }

  /** Ends all of it; the network must be well. */
  async finish(): Promise<TrafficSeen & { bulkSent: BulkReport }> {
    const sent = await this.#numbered[1].finish()
    const steady = await this.#steady[1].finish()
    const [bulkSent, bulk] = await Promise.all([this.#bulk[1].finish(), this.#bulk[0].finish()])
    await this.#steady[0].finish()
    return { bulk, bulkSent, steady, sent, numbered: await this.#numbered[0].finish() }
  }
}
