/**
 * Which node holds which pod range: ranges/N.yaml, created exclusively, names the node that holds range N; a node whose
 * ranges a person chose holds them by its Node object. Claims are made and freed under the folder's lock; that the file
 * is created exclusively keeps them from clashing also where a file system's locks do not reach (a folder shared by VMs).
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { PolderError } from '../../errors.ts'
import { ABANDONED_AGE_MS, createFile, removeFile } from '../../files/atomic-file.ts'
import type { Node } from '../objects.ts'
import type { Problem } from '../store.ts'
import { firstOverlap, type RangePlan } from './range-plan.ts'
import { readStoreFile } from './store-file.ts'

/** The holder of a claim that cannot be read: nobody takes such a range, and a person is told. */
const UNREADABLE = undefined

export class RangeClaims {
  readonly plan: RangePlan
  readonly #folder: string

  constructor(folder: string, plan: RangePlan) {
    this.plan = plan
    this.#folder = join(folder, 'ranges')
  }

  /** The ranges that `name` holds now. `nodes` are all Node objects, `chosen` the ranges that this node's own lists. */
  async claim(name: string, chosen: readonly string[], nodes: readonly Node[]): Promise<string[]> {
    const claims = this.#read()
    if (chosen.length === 0) return this.plan.range(await this.#claimFree(name, claims, nodes))
    this.#checkInside(name, chosen)
    this.checkFree(name, chosen, nodes)
    const number = this.plan.numberOf(chosen)
    for (const [claimed, holder] of claims) {
      if (holder === name && claimed !== number) await this.#free(claimed)
    }
    if (number !== undefined && !claims.has(number)) await this.#create(number, name)
    return [...chosen]
  }

  /** Frees what is claimed for nodes that `isGone`. */
  async free(isGone: (nodeName: string) => boolean): Promise<void> {
    for (const [number, holder] of this.#read()) {
      if (holder !== UNREADABLE && isGone(holder)) await this.#free(number)
    }
  }

  /**
   * Frees what a power cut left empty between taking a number and writing who has it, which takes two steps where there
   * is no link(2). Nobody was told of such a claim. Resolves to their paths.
   */
  async freeEmpty(): Promise<string[]> {
    const freed: string[] = []
    for (const [number, holder] of this.#read()) {
      const stat = holder === UNREADABLE ? statSync(this.#path(number), { throwIfNoEntry: false }) : undefined
      if (stat?.size !== 0 || Date.now() - stat.mtimeMs < ABANDONED_AGE_MS) continue
      if (await this.#free(number)) freed.push(this.#path(number))
    }
    return freed
  }

  /** Claims that cannot be read. */
  problems(): Problem[] {
    let claims: Map<number, string | undefined>
    try {
      claims = this.#read()
    } catch (error) {
      return [{ place: this.#folder, message: `cannot be read: ${(error as Error).message}` }]
    }
    const broken = [...claims].filter(([, holder]) => holder === UNREADABLE)
    const message = 'names no node, so nobody takes this range: remove the file'
    return broken.map(([number]) => ({ place: this.#path(number), message }))
  }

  async #claimFree(name: string, claims: Map<number, string | undefined>, nodes: readonly Node[]): Promise<number> {
    const others = nodes.filter((node) => node.metadata.name !== name)
    for (const [number, holder] of claims) if (holder === name) return number
    for (const number of this.plan.numbers()) {
      if (claims.has(number)) continue
      const range = this.plan.range(number)
      if (others.some((node) => firstOverlap(range, node.spec.podCIDRs) !== undefined)) continue
      if (await this.#create(number, name)) return number
    }
    throw new PolderError(
      'no-range-left',
      `All ${this.plan.count} pod ranges of the cluster are taken; there is none for node ${name}.`,
      'Delete nodes that are gone (`polder get nodes`, `polder delete node NAME`), or set larger podCIDRs.',
    )
  }

  /** Throws where `ranges`, chosen by a person for node `name`, are another's already. */
  checkFree(name: string, ranges: readonly string[], nodes: readonly Node[]): void {
    const others = nodes.filter((node) => node.metadata.name !== name)
    const held = others.map((node) => ({ holder: `node ${node.metadata.name}`, ranges: node.spec.podCIDRs }))
    for (const [number, holder] of this.#read()) {
      if (holder === name) continue
      held.push({
        holder: holder === UNREADABLE ? this.#path(number) : `node ${holder}`,
        ranges: this.plan.range(number),
      })
    }
    for (const { holder, ranges: theirs } of held) {
      const pair = firstOverlap(ranges, theirs)
      if (pair === undefined) continue
      throw new PolderError(
        'range-taken',
        `Pod range ${pair[0]} of node ${name} overlaps with ${pair[1]} of ${holder}.`,
        `Change spec.podCIDRs of one of them, or leave them out for node ${name} to take a free range.`,
      )
    }
  }

  #checkInside(name: string, ranges: readonly string[]): void {
    const outside = ranges.find((range) => !this.plan.covers(range))
    if (outside === undefined) return
    throw new PolderError(
      'range-outside',
      `Node ${name} lists the pod range ${outside}, which lies outside the cluster's podCIDRs.`,
      `Change spec.podCIDRs of the node or podCIDRs of polderd, or \`polder delete node ${name}\` for a new range.`,
    )
  }

  #read(): Map<number, string | undefined> {
    const claims = new Map<number, string | undefined>()
    for (const file of readdirSync(this.#folder)) {
      const number = file.match(/^(0|[1-9]\d*)\.yaml$/)?.[1]
      if (number === undefined) continue
      const read = readStoreFile(join(this.#folder, file))
      if (typeof read === 'object') claims.set(Number(number), holderIn(read.text ?? ''))
    }
    return claims
  }

  #create(number: number, node: string): Promise<boolean> {
    return createFile(this.#path(number), stringify({ node, podCIDRs: this.plan.range(number) }))
  }

  #free(number: number): Promise<boolean> {
    return removeFile(this.#path(number))
  }

  #path(number: number): string {
    return join(this.#folder, `${number}.yaml`)
  }
}

function holderIn(text: string): string | undefined {
  try {
    const { node } = parse(text) as { node?: unknown }
    return typeof node === 'string' ? node : UNREADABLE
  } catch {
    return UNREADABLE
  }
}
