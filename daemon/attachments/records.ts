/**
 * The attachments on disk: one JSON file each, stateDir/attachments/CONTAINERID@IFNAME.json ('@' can be in neither
 * name, '.' can be in both). A record is written before anything of its attachment is made and goes after all of it
 * is gone, so that a polderd that was killed at any point finds everything it ever made.
 *
 * A released record stays for a while under the name of its address, ADDRESS.released: so the next polderd knows which
 * addresses rest. Files are replaced by rename, never written in place, and not synced: a power cut ends the boot, and
 * no attachment outlives its boot. Records of an earlier one are removed at start.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { COOL_DOWN_MS } from '../ipam/ipam.ts'
import type { Attachment } from './attachment.ts'

const recordSchema = z.object({
  containerId: z.string(),
  ifName: z.string(),
  netns: z.string(),
  addresses: z.array(z.union([z.ipv4(), z.ipv6()])),
  pod: z.object({ namespace: z.string(), name: z.string(), uid: z.string().exactOptional() }).exactOptional(),
  network: z.string(),
  viaCni: z.literal(true).exactOptional(),
  createdAt: z.iso.datetime(),
  bootId: z.string(),
})

/** Which boot of this machine it is. */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

/** Timers and file times round differently: look only when the minute is surely over. */
const TIMER_SLACK_MS = 1_000

export interface LoadedRecord {
  attachment: Attachment
  /** Present where it was released, in ms since the epoch. */
  releasedAtMs?: number
}

export class AttachmentRecords {
  readonly #folder: string
  readonly #bootId: string
  readonly #log: Logger

  constructor(stateDir: string, bootId: string, log: Logger) {
    this.#folder = join(stateDir, 'attachments')
    this.#bootId = bootId
    this.#log = log
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
  }

  /** Everything of this boot, oldest first; clears away what is of no more use. */
  load(): LoadedRecord[] {
    const loaded: LoadedRecord[] = []
    for (const name of readdirSync(this.#folder)) {
      const record = this.#read(name)
      if (record !== undefined) loaded.push(record)
    }
    return loaded.sort((a, b) => a.attachment.createdAt.localeCompare(b.attachment.createdAt))
  }

  write(attachment: Attachment): void {
    const path = this.#pathOf(attachment)
    writeFileSync(`${path}.new`, `${JSON.stringify(attachment, null, 2)}\n`, { mode: 0o600 })
    renameSync(`${path}.new`, path)
  }

  /** The attachment is gone; its addresses rest from now on. */
  release(attachment: Attachment, nowMs: number): void {
    const path = this.#pathOf(attachment)
    const [address] = attachment.addresses
    // Somebody may have removed the file: then nothing is left to tell of.
    if (address === undefined || !existsSync(path)) return
    const released = join(this.#folder, `${address}.released`)
    utimesSync(path, nowMs / 1000, nowMs / 1000)
    renameSync(path, released)
    setTimeout(() => this.#forget(released), COOL_DOWN_MS + TIMER_SLACK_MS).unref()
  }

  remove(attachment: Attachment): void {
    rmSync(this.#pathOf(attachment), { force: true })
  }

  #pathOf(attachment: Attachment): string {
    return join(this.#folder, `${attachment.containerId}@${attachment.ifName}.json`)
  }

  /** Removes a released record once it has rested; the address may have been used and released again meanwhile. */
  #forget(path: string): void {
    const info = statSync(path, { throwIfNoEntry: false })
    if (info !== undefined && Date.now() - info.mtimeMs >= COOL_DOWN_MS) rmSync(path, { force: true })
  }

  #read(name: string): LoadedRecord | undefined {
    const path = join(this.#folder, name)
    const released = name.endsWith('.released')
    if (!released && !name.endsWith('.json')) {
      // A write that was cut short before its rename: nothing was made for it yet.
      if (name.endsWith('.new')) rmSync(path, { force: true })
      return undefined
    }
    let attachment: Attachment
    try {
      attachment = recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
    } catch (error) {
      this.#log.error({ path, error }, 'an attachment record cannot be read and is left alone: mend or remove the file')
      return undefined
    }
    if (attachment.bootId !== this.#bootId) {
      rmSync(path)
      return undefined
    }
    if (!released) return { attachment }
    const releasedAtMs = statSync(path).mtimeMs
    const restMs = COOL_DOWN_MS - (Date.now() - releasedAtMs)
    if (restMs <= 0) {
      rmSync(path)
      return undefined
    }
    setTimeout(() => this.#forget(path), Math.min(restMs, COOL_DOWN_MS) + TIMER_SLACK_MS).unref()
    return { attachment, releasedAtMs }
  }
}
