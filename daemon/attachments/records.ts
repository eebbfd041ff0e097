/**
 * The attachments on disk: one JSON file each, stateDir/attachments/CONTAINERID@IFNAME.json ('@' can be in neither
 * name, '.' can be in both). A record is written before anything of its attachment is made and goes after all of it
 * is gone, so that a polderd that was killed at any point finds everything it ever made.
 *
 * A released record stays for a while under the name of its address, ADDRESS.released: so the next polderd knows which
 * addresses rest. Files are replaced by rename, never written in place, and not synced: a power cut ends the boot, and
 * no attachment outlives its boot. stateDir/boot-id says whose boot the records are: in another one nothing of them
 * counts, whole or torn.
 *
 * A record that cannot be read although its boot goes on was damaged by somebody: it is set aside as NAME.broken, and
 * the addresses that can still be seen in it are held back until the machine restarts, for a pod may have them.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { readdir, stat, unlink } from 'node:fs/promises'
import { isIP } from 'node:net'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { notWritten, removeAbandoned, replaceUntilReboot } from '../files/atomic-file.ts'
import { COOL_DOWN_MS } from '../ipam/ipam.ts'
import type { Attachment } from './attachment.ts'

const recordSchema = z.object({
  containerId: z.string(),
  ifName: z.string(),
  netns: z.string(),
  addresses: z.array(z.union([z.ipv4(), z.ipv6()])),
  pod: z.object({ namespace: z.string(), name: z.string(), uid: z.string().exactOptional() }).exactOptional(),
  hostPorts: z
    .array(
      z.object({
        protocol: z.enum(['TCP', 'UDP', 'SCTP']),
        hostPort: z.int(),
        containerPort: z.int(),
        hostIP: z.union([z.ipv4(), z.ipv6()]).exactOptional(),
        virtualPort: z.int(),
      }),
    )
    .exactOptional(),
  network: z.string(),
  viaCni: z.literal(true).exactOptional(),
  createdAt: z.iso.datetime(),
  bootId: z.string(),
})

export interface LoadedRecords {
  /** Oldest first; no two with the same address. */
  attachments: Attachment[]
  /** What was released, and when, in ms since the epoch; oldest first. */
  resting: { addresses: string[]; releasedAtMs: number }[]
  /** Of records that cannot be read. */
  heldBack: string[]
}

export class AttachmentRecords {
  readonly #folder: string
  readonly #bootFile: string
  readonly #bootId: string
  readonly #log: Logger
  #bootIsNoted = false

  constructor(stateDir: string, bootId: string, log: Logger) {
    this.#folder = join(stateDir, 'attachments')
    this.#bootFile = join(stateDir, 'boot-id')
    this.#bootId = bootId
    this.#log = log
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw notWritten(this.#folder, error)
    }
  }

  /** Everything of this boot; what is of an earlier one is cleared away. */
  load(): LoadedRecords {
    try {
      this.#noteBoot()
    } catch (error) {
      this.#log.error({ err: error }, 'records of an earlier boot cannot be cleared away yet: no pod can be attached')
      return { attachments: [], resting: [], heldBack: [] }
    }
    const loaded: LoadedRecords = { attachments: [], resting: [], heldBack: [] }
    for (const name of readdirSync(this.#folder)) this.#load(name, loaded)
    loaded.attachments.sort((a, b) => a.createdAt.localeCompare(b.createdAt))
    loaded.resting.sort((a, b) => a.releasedAtMs - b.releasedAtMs)
    loaded.attachments = this.#withoutContested(loaded.attachments)
    return loaded
  }

  /** Throws `not-written` where the disk refuses. */
  write(attachment: Attachment): void {
    if (!this.#bootIsNoted) this.#noteBoot()
    replaceUntilReboot(this.#pathOf(attachment), `${JSON.stringify(attachment, null, 2)}\n`, 0o600)
  }

  /** The attachment is gone; its addresses rest from now on. Throws `not-written`; may be repeated. */
  release(attachment: Attachment, nowMs: number): void {
    const path = this.#pathOf(attachment)
    const [address] = attachment.addresses
    // Somebody may have removed the file: then nothing is left to tell of.
    if (address === undefined || !existsSync(path)) return
    try {
      utimesSync(path, nowMs / 1000, nowMs / 1000)
      renameSync(path, join(this.#folder, `${address}.released`))
    } catch (error) {
      throw notWritten(path, error)
    }
  }

  /** The attachment was never made. Throws `not-written`; may be repeated. */
  remove(attachment: Attachment): void {
    const path = this.#pathOf(attachment)
    try {
      rmSync(path, { force: true })
    } catch (error) {
      throw notWritten(path, error)
    }
  }

  /** Removes released records once they have rested, and what killed writers left. For now and then. */
  async sweep(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!name.endsWith('.released')) continue
      const path = join(this.#folder, name)
      // The address may have been used and released again meanwhile: its file is new then, or not there.
      const releasedAtMs = await stat(path).then(
        (found) => found.mtimeMs,
        () => Number.POSITIVE_INFINITY,
      )
      if (Date.now() - releasedAtMs >= COOL_DOWN_MS) await unlink(path)
    }
    for (const folder of [this.#folder, dirname(this.#bootFile)]) await removeAbandoned(folder)
  }

  #pathOf(attachment: Attachment): string {
    return join(this.#folder, `${attachment.containerId}@${attachment.ifName}.json`)
  }

  /** From here on the records are of this boot. A polderd before 0.2 noted none: then each record is asked for its own. */
  #noteBoot(): void {
    if (readText(this.#bootFile)?.trim() !== this.#bootId) {
      for (const name of readdirSync(this.#folder)) this.#clearUnlessOfThisBoot(name)
      replaceUntilReboot(this.#bootFile, `${this.#bootId}\n`, 0o600)
    }
    this.#bootIsNoted = true
  }

  #clearUnlessOfThisBoot(name: string): void {
    const path = join(this.#folder, name)
    const attachment = readRecord(path)
    if (attachment?.bootId === this.#bootId) return
    if (attachment === undefined) {
      const message = 'removed what was half-written when the machine stopped: no attachment outlives its boot'
      this.#log.warn({ path }, message)
    }
    try {
      rmSync(path, { recursive: true, force: true })
    } catch (error) {
      throw notWritten(path, error)
    }
  }

  #load(name: string, { attachments, resting, heldBack }: LoadedRecords): void {
    const path = join(this.#folder, name)
    if (name.endsWith('.broken')) heldBack.push(...addressesIn(readText(path) ?? ''))
    if (name.endsWith('.released')) {
      const releasedAtMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
      const isResting = Date.now() - releasedAtMs < COOL_DOWN_MS
      if (isResting) resting.push({ addresses: readRecord(path)?.addresses ?? [], releasedAtMs })
    }
    if (!name.endsWith('.json')) return
    const attachment = readRecord(path)
    if (attachment !== undefined) {
      attachments.push(attachment)
      return
    }
    heldBack.push(...addressesIn(readText(path) ?? ''))
    this.#setAside(path, 'an attachment record cannot be read: its addresses stay taken until the machine restarts')
  }

  /** Two records cannot both be right; the younger one's pod is the one that was told its address last. */
  #withoutContested(oldestFirst: Attachment[]): Attachment[] {
    const owners = new Map<string, Attachment>()
    for (const each of oldestFirst) for (const address of each.addresses) owners.set(address, each)
    return oldestFirst.filter((each) => {
      const contested = each.addresses.find((address) => owners.get(address) !== each)
      if (contested === undefined) return true
      this.#setAside(this.#pathOf(each), `${contested} is in a younger attachment record too, which counts`)
      return false
    })
  }

  #setAside(path: string, why: string): void {
    try {
      renameSync(path, `${path}.broken`)
    } catch (error) {
      this.#log.error({ path, err: error }, `${why}; it could not be set aside`)
      return
    }
    this.#log.error({ path: `${path}.broken` }, `${why}; recreate its pod, and look at the file, which is set aside`)
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** Undefined where it cannot be read. */
function readRecord(path: string): Attachment | undefined {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}

function addressesIn(text: string): string[] {
  return [...text.matchAll(/"([0-9a-fA-F:.]+)"/g)].map(([, word]) => word!).filter((word) => isIP(word) !== 0)
}
