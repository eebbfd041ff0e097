/**
 * A wire with faults between two devices of a namespace (relay/main.c): loss, damage, duplicates, delay and so on, each
 * direction with its own, changed while it runs. The kernel of the test machines has no netem.
 *
 *   await using relay = await Relay.between(cluster)
 *   await relay.set({ lossPercent: 5 })                   both directions
 *   await relay.setOne('ba', { partition: true })         node2 to node1 only
 *   await relay.heal()
 */
import { compiled } from './c-programs.ts'
import type { TestCluster } from './cluster.ts'
import { LineProgram } from './line-program.ts'
import type { Netns } from './netns.ts'

/** `ab`: from the first device to the second. */
export type Direction = 'ab' | 'ba'

/** What is absent is off. */
export interface Faults {
  /** Nothing passes. */
  partition?: boolean
  lossPercent?: number
  /** One bit of the frame, anywhere behind the Ethernet header. */
  corruptPercent?: number
  /** One bit of a UDP payload, with a checksum that is right: only who reads the payload can tell. */
  garblePercent?: number
  duplicatePercent?: number
  /** So many are held back for `holdMs`, and others overtake them. */
  reorderPercent?: number
  holdMs?: number
  delayMs?: number
  /** Added to or taken from the delay, up to so much; order is kept. */
  jitterMs?: number
  rateMbit?: number
  /** Frames that may be on their way at a time, 1000 unless said; more are dropped. */
  queueFrames?: number
}

export interface RelayCounts {
  received: number
  delivered: number
  bytes: number
  lost: number
  partitioned: number
  overflowed: number
  corrupted: number
  garbled: number
  duplicated: number
  reordered: number
  /** By the device that they should have left through. */
  refused: number
  waiting: number
}

export type RelayStats = Record<Direction, RelayCounts>

/** Frames are those of a real wire: no super-packets, no checksums left to do. */
export const WIRE_OFFLOADS = 'tso off gso off tx-udp-segmentation off gro off tx off rx off'.split(' ')

export class Relay {
  readonly #program: LineProgram

  private constructor(program: LineProgram) {
    this.#program = program
  }

  /** Between two devices of `netns` whose offloads are off; `seed` decides which frames suffer. */
  static async start(netns: Netns, first: string, second: string, seed = 1): Promise<Relay> {
    return new Relay(await LineProgram.start(netns, compiled('relay'), seed, first, second))
  }

  /** Takes the bridge's place between the nodes of a cluster of two; `ab` is from node1 to node2. */
  static async between(cluster: TestCluster, seed = 1): Promise<Relay> {
    const { underlay, nodes } = cluster
    for (const device of ['to1', 'to2']) {
      await underlay.run('ip', 'link', 'set', device, 'nomaster', 'addrgenmode', 'none')
      await underlay.run('ip', 'address', 'flush', 'dev', device)
      await underlay.run('ethtool', '-K', device, ...WIRE_OFFLOADS)
    }
    for (const { netns } of nodes) await netns.run('ethtool', '-K', 'underlay', ...WIRE_OFFLOADS)
    return Relay.start(underlay, 'to1', 'to2', seed)
  }

  /** Replaces the faults of both directions. */
  async set(faults: Faults): Promise<void> {
    await Promise.all([this.setOne('ab', faults), this.setOne('ba', faults)])
  }

  async setOne(direction: Direction, faults: Faults): Promise<void> {
    const words = Object.entries(faults).map(([name, value]) => `${wordOf(name)}=${Number(value)}`)
    await this.#program.ask(['set', direction, ...words].join(' '))
  }

  heal(): Promise<void> {
    return this.set({})
  }

  async stats(): Promise<RelayStats> {
    return JSON.parse(await this.#program.ask('stats')) as RelayStats
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]()
  }
}

/** As the program says it: units are its own affair. */
function wordOf(name: string): string {
  return name.replace(/(Percent|Ms|Mbit|Frames)$/, '')
}
