/**
 * Claims as files: one that was created exclusively is the proof of who has what its name says. Each names the Service
 * that has it. They keep it right also where a file system's locks do not reach.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { createFile, removeFile } from '../../files/atomic-file.ts'
import { CLAIMS_FOLDER } from './layout.ts'
import { readStoreFile } from './store-file.ts'

const ENDING = '.yaml'

export class ClaimFiles {
  readonly #folder: string

  /** `folder`: that of the whole store. */
  constructor(folder: string) {
    this.#folder = join(folder, CLAIMS_FOLDER)
  }

  names(): string[] {
    const files = readdirSync(this.#folder).filter((file) => file.endsWith(ENDING) && !file.startsWith('.'))
    return files.map((file) => file.slice(0, -ENDING.length))
  }

  /** Undefined where it is the holder's now; else whose it is. */
  async claim(name: string, holder: string): Promise<string | undefined> {
    if (await this.#create(name, holder)) return undefined
    const other = this.holder(name) ?? `(${this.#path(name)} names none: remove it)`
    return other === holder ? undefined : other
  }

  /** The first of the candidates that nobody has, claimed. */
  async claimFree<Candidate>(
    candidates: Iterable<Candidate>,
    nameOf: (candidate: Candidate) => string,
    holder: string,
  ): Promise<Candidate | undefined> {
    const taken = new Set(this.names())
    for (const candidate of candidates) {
      const name = nameOf(candidate)
      if (!taken.has(name) && (await this.#create(name, holder))) return candidate
    }
    return undefined
  }

  async free(name: string, holder: string): Promise<void> {
    if (this.holder(name) === holder) await removeFile(this.#path(name))
  }

  /** NAMESPACE/NAME; undefined where nobody has it, or the file says nothing that can be read. */
  holder(name: string): string | undefined {
    const file = readStoreFile(this.#path(name))
    if (typeof file !== 'object') return undefined
    try {
      const { service } = parse(file.text ?? '') as { service?: unknown }
      return typeof service === 'string' ? service : undefined
    } catch {
      return undefined
    }
  }

  #create(name: string, service: string): Promise<boolean> {
    return createFile(this.#path(name), stringify({ service }))
  }

  #path(name: string): string {
    return join(this.#folder, name + ENDING)
  }
}
