/**
 * Leases in the folder: `leases/NODE.yaml` is one node's word. It has a mark that is another with every beat, and the
 * addresses that the node holds. An address is in one file only: who takes it from a node that has fallen silent removes
 * it from that file first. All of that happens under the lock of the leases; an ordinary beat needs none.
 *
 * Why at most one node answers. A node answers while its last beat is younger than LEASE_HOLD_MS. Others take from it only
 * when, by their own clock, its file has not changed for LEASE_EXPIRY_MS, which is longer: then it has stopped. One that
 * wakes from a longer pause, stopped by a debugger or starved, finds its last beat too old, and begins anew under the
 * lock: what is no longer in its file, or in another one too, is lost. What a write that was under way during the pause
 * overwrote is found by the same rule.
 *
 * It relies on a folder that shows every polderd the same files in the same order: a disk of this machine, or a network
 * file system without caches that hide changes. A node that cannot write the folder falls silent. Nodes that see different
 * folders cannot know of each other's leases.
 *
 * Nothing here is flushed: after a power cut nobody holds anything that is not begun anew.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { removeFile, replaceUntilReboot } from '../../files/atomic-file.ts'
import { LEASE_EXPIRY_MS, LEASE_HOLD_MS, type Leases, type LeaseView } from '../leases.ts'
import { LEASES_FOLDER } from './layout.ts'
import { withLock } from './lock.ts'

const ENDING = '.yaml'
const MODE = 0o600

interface Word {
  /** Another one with every beat. */
  mark: string
  addresses: string[]
}

interface SeenWord extends Word {
  text: string
  /** When its mark was first seen, by our own clock. */
  seenAtMs: number
}

export class FolderLeases implements Leases {
  readonly #folder: string
  readonly #node: string
  readonly #now: () => number
  /** What others said last. */
  readonly #others = new Map<string, SeenWord>()
  #held = new Set<string>()
  #beatAtMs = Number.NEGATIVE_INFINITY

  /** `folder`: that of the whole store. `now`: a steady clock. */
  constructor(folder: string, node: string, now: () => number = () => performance.now()) {
    this.#folder = join(folder, LEASES_FOLDER)
    this.#node = node
    this.#now = now
  }

  get held(): ReadonlySet<string> {
    return this.#held
  }

  mayAnswer(): boolean {
    return this.#now() - this.#beatAtMs < LEASE_HOLD_MS
  }

  async beat(): Promise<LeaseView> {
    if (!this.#beatOrdinary()) await this.#beginAnew()
    this.#look()
    const holders = new Map<string, string>()
    const alive = [this.#node]
    for (const [node, word] of this.#others) {
      if (this.#isAlive(word)) alive.push(node)
      for (const address of word.addresses) holders.set(address, node)
    }
    for (const address of this.#held) holders.set(address, this.#node)
    return { alive, holders }
  }

  async take(addresses: readonly string[]): Promise<void> {
    await this.#locked(() => {
      this.#look()
      const taken = new Set(addresses)
      for (const [node, word] of this.#others) {
        const theirs = word.addresses.filter((address) => taken.has(address))
        if (theirs.length === 0) continue
        if (this.#isAlive(word)) for (const address of theirs) taken.delete(address)
        else this.#write(node, { ...word, addresses: word.addresses.filter((address) => !taken.has(address)) })
      }
      // Others may already count us out.
      if (!this.mayAnswer()) return
      this.#say([...this.#held, ...taken])
      for (const address of taken) this.#held.add(address)
    })
  }

  async give(address: string): Promise<void> {
    // First, so that nobody answers while another takes it.
    if (!this.#held.delete(address)) return
    await this.#locked(() => this.#say([...this.#held]))
  }

  async resign(): Promise<void> {
    this.#held.clear()
    this.#beatAtMs = Number.NEGATIVE_INFINITY
    await this.#locked(() => removeFile(this.#path(this.#node)))
  }

  /** False where the last beat is too long ago: then others may have taken what was ours. */
  #beatOrdinary(): boolean {
    if (!this.mayAnswer()) return false
    const beganAtMs = this.#now()
    this.#say([...this.#held])
    if (!this.mayAnswer()) return false
    this.#beatAtMs = beganAtMs
    return true
  }

  #beginAnew(): Promise<void> {
    return this.#locked(() => {
      const beganAtMs = this.#now()
      this.#look()
      const others = new Set([...this.#others.values()].flatMap(({ addresses }) => addresses))
      const own = wordIn(this.#read(this.#node) ?? '').addresses.filter((address) => !others.has(address))
      this.#say(own)
      this.#held = new Set(own)
      this.#beatAtMs = beganAtMs
    })
  }

  #isAlive({ seenAtMs }: SeenWord): boolean {
    return this.#now() - seenAtMs < LEASE_EXPIRY_MS
  }

  #look(): void {
    const names = readdirSync(this.#folder).filter((file) => file.endsWith(ENDING) && !file.startsWith('.'))
    const nodes = new Set(names.map((file) => file.slice(0, -ENDING.length)))
    nodes.delete(this.#node)
    for (const node of this.#others.keys()) if (!nodes.has(node)) this.#others.delete(node)
    for (const node of nodes) {
      const text = this.#read(node)
      const before = this.#others.get(node)
      if (text === undefined || before?.text === text) continue
      const word = wordIn(text)
      // Another node may have taken something out of it: that is no sign of life.
      const seenAtMs = before?.mark === word.mark ? before.seenAtMs : this.#now()
      this.#others.set(node, { ...word, text, seenAtMs })
    }
  }

  /** Undefined where it is gone. */
  #read(node: string): string | undefined {
    try {
      return readFileSync(this.#path(node), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  #say(addresses: string[]): void {
    this.#write(this.#node, { mark: randomBytes(6).toString('hex'), addresses })
  }

  /** JSON is YAML, and read in a hundredth of the time. */
  #write(node: string, { mark, addresses }: Word): void {
    replaceUntilReboot(this.#path(node), `${JSON.stringify({ mark, addresses })}\n`, MODE)
  }

  async #locked<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    return withLock(join(this.#folder, '.lock'), async () => work())
  }

  #path(node: string): string {
    return join(this.#folder, node + ENDING)
  }
}

/** Empty where it says nothing that can be read. */
function wordIn(text: string): Word {
  try {
    const { mark, addresses } = JSON.parse(text) as { mark?: unknown; addresses?: unknown }
    const listed = Array.isArray(addresses) ? addresses.filter((one) => typeof one === 'string') : []
    return { mark: typeof mark === 'string' ? mark : text, addresses: listed }
  } catch {
    return { mark: text, addresses: [] }
  }
}
