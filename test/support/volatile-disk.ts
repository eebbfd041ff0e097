/**
 * A disk that forgets: records what this process does to the files below a folder, and says what a power cut at any
 * moment may leave of it.
 *
 *   using disk = await VolatileDisk.record(root)      node:fs is watched from here on
 *   ... the real code works on the real folder ...
 *   disk.steps                                        what it did, in order
 *   leftAfter(steps, chance), build(root, left)       one of the folders that a cut after these steps may leave
 *
 * The model is the least that POSIX promises. What was written to a file is there for certain after fsync of the file;
 * before that it may be there, be cut anywhere, or be zeros. A name made, moved or removed is so for certain after fsync
 * of its folder; before that each such change may have happened or not, whichever came first. rename(2) is one change.
 * Lock files are left out: their content means nothing.
 */
import fs from 'node:fs'
import promises, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'

/** An inode: a file's or a folder's. */
type Inode = number
const ROOT: Inode = 0

export type Step =
  | { do: 'write'; inode: Inode; content: string }
  | { do: 'sync'; inode: Inode }
  /** One change of names that happens as a whole; null is a name that goes. */
  | { do: 'name'; changes: { folder: Inode; name: string; inode: Inode | null }[] }

/** Below 1, as Math.random. */
export type Chance = () => number

/** Path below the root to content; folders end with a slash. */
export type Left = Map<string, string>

export class VolatileDisk {
  readonly steps: Step[] = []
  readonly #root: string
  readonly #inodes = new Map<string, Inode>([['', ROOT]])
  readonly #open = new WeakMap<FileHandle, Inode>()
  readonly #restore: (() => void)[] = []
  #lastInode = ROOT

  private constructor(root: string) {
    this.#root = root
  }

  static async record(root: string): Promise<VolatileDisk> {
    const disk = new VolatileDisk(root)
    disk.#watchPromises()
    await disk.#watchHandles()
    disk.#watchSync()
    syncBuiltinESMExports()
    return disk
  }

  [Symbol.dispose](): void {
    for (const restore of this.#restore) restore()
    syncBuiltinESMExports()
  }

  #replace<T extends object, K extends keyof T>(of: T, name: K, by: (original: T[K]) => T[K]): void {
    const original = of[name]
    of[name] = by(original)
    this.#restore.push(() => {
      of[name] = original
    })
  }

  /** Below the root; undefined for what is not recorded. */
  #below(path: unknown): string | undefined {
    const below = relative(this.#root, String(path))
    return below.startsWith('..') || below.endsWith('.lock') ? undefined : below
  }

  #name(path: string, inode: Inode | null): { folder: Inode; name: string; inode: Inode | null } {
    const above = dirname(path) === '.' ? '' : dirname(path)
    const folder = this.#inodes.get(above)
    if (folder === undefined) throw new Error(`${path}: its folder was not seen being made`)
    if (inode === null) this.#inodes.delete(path)
    else this.#inodes.set(path, inode)
    return { folder, name: basename(path), inode }
  }

  #make(path: string): Inode {
    const inode = ++this.#lastInode
    this.steps.push({ do: 'name', changes: [this.#name(path, inode)] })
    return inode
  }

  #made(path: string): void {
    const missing: string[] = []
    for (let at = path; at !== '.' && !this.#inodes.has(at); at = dirname(at)) missing.unshift(at)
    for (const each of missing) this.#make(each)
  }

  #removed(path: string | undefined): void {
    if (path !== undefined && this.#inodes.has(path)) this.steps.push({ do: 'name', changes: [this.#name(path, null)] })
  }

  #renamed(from: string | undefined, to: string | undefined): void {
    if (from === undefined || to === undefined) return
    const inode = this.#inodes.get(from)!
    this.steps.push({ do: 'name', changes: [this.#name(from, null), this.#name(to, inode)] })
  }

  #watchPromises(): void {
    this.#replace(promises, 'open', (open) => async (path, flags, mode) => {
      const handle = await open(path, flags, mode)
      const below = this.#below(path)
      if (below === undefined) return handle
      if (String(flags).startsWith('w') && !this.#inodes.has(below)) {
        this.steps.push({ do: 'write', inode: this.#make(below), content: '' })
      }
      const inode = this.#inodes.get(below)
      if (inode !== undefined) this.#open.set(handle, inode)
      return handle
    })
    this.#replace(
      promises,
      'mkdir',
      (mkdir) =>
        (async (path: string, options: object) => {
          const first = await mkdir(path, options)
          const below = this.#below(path)
          if (below !== undefined) this.#made(below)
          return first
        }) as typeof mkdir,
    )
    this.#replace(promises, 'rename', (rename) => async (from, to) => {
      await rename(from, to)
      this.#renamed(this.#below(from), this.#below(to))
    })
    this.#replace(promises, 'link', (link) => async (from, to) => {
      await link(from, to)
      const [source, target] = [this.#below(from), this.#below(to)]
      if (source === undefined || target === undefined) return
      this.steps.push({ do: 'name', changes: [this.#name(target, this.#inodes.get(source)!)] })
    })
    for (const remove of ['unlink', 'rmdir'] as const) {
      this.#replace(promises, remove, (original) => async (path: Parameters<typeof original>[0]) => {
        await original(path)
        this.#removed(this.#below(path))
      })
    }
  }

  async #watchHandles(): Promise<void> {
    const probe = await promises.open('/dev/null')
    const prototype = Object.getPrototypeOf(probe) as FileHandle
    await probe.close()
    const inodeOf = (handle: FileHandle): Inode | undefined => this.#open.get(handle)
    const { steps } = this
    this.#replace(
      prototype,
      'writeFile',
      (writeFile) =>
        async function (this: FileHandle, content, options) {
          await writeFile.call(this, content, options)
          const inode = inodeOf(this)
          if (inode !== undefined) steps.push({ do: 'write', inode, content: String(content) })
        },
    )
    this.#replace(
      prototype,
      'sync',
      (sync) =>
        async function (this: FileHandle) {
          await sync.call(this)
          const inode = inodeOf(this)
          if (inode !== undefined) steps.push({ do: 'sync', inode })
        },
    )
  }

  #watchSync(): void {
    this.#replace(
      fs,
      'mkdirSync',
      (mkdirSync) =>
        ((path: string, options: object) => {
          const first = mkdirSync(path, options)
          const below = this.#below(path)
          if (below !== undefined) this.#made(below)
          return first
        }) as typeof mkdirSync,
    )
    this.#replace(fs, 'writeFileSync', (writeFileSync) => (path, content, options) => {
      writeFileSync(path, content, options)
      const below = this.#below(path)
      if (below === undefined) return
      const inode = this.#inodes.get(below) ?? this.#make(below)
      this.steps.push({ do: 'write', inode, content: String(content) })
    })
    this.#replace(fs, 'renameSync', (renameSync) => (from, to) => {
      renameSync(from, to)
      this.#renamed(this.#below(from), this.#below(to))
    })
    for (const remove of ['rmSync', 'unlinkSync'] as const) {
      this.#replace(fs, remove, (original) => (path: fs.PathLike) => {
        ;(original as typeof fs.rmSync)(path, { force: true })
        this.#removed(this.#below(path))
      })
    }
  }
}

/** What a cut after these steps leaves; `chance` decides what was not flushed yet. 0: all of it is lost, 1: nothing. */
export function leftAfter(steps: readonly Step[], chance: Chance): Left {
  const flushedNames = lastSyncs(steps)
  const folders = new Map<Inode, Map<string, Inode>>()
  for (const [index, step] of steps.entries()) {
    if (step.do !== 'name') continue
    const isFlushed = step.changes.every(({ folder }) => index < (flushedNames.get(folder) ?? -1))
    if (!isFlushed && chance() < 0.5) continue
    for (const { folder, name, inode } of step.changes) {
      const names = folders.get(folder) ?? new Map<string, Inode>()
      folders.set(folder, names)
      if (inode === null) names.delete(name)
      else names.set(name, inode)
    }
  }
  const contents = contentsOf(steps, flushedNames, chance)
  const left: Left = new Map()
  const walk = (inode: Inode, path: string): void => {
    for (const [name, below] of folders.get(inode) ?? []) {
      if (contents.has(below)) left.set(join(path, name), contents.get(below)!)
      else left.set(`${join(path, name)}/`, '')
      walk(below, join(path, name))
    }
  }
  walk(ROOT, '')
  return left
}

/** What is there: nothing lost yet. */
export function read(root: string): Left {
  const entries = fs.readdirSync(root, { recursive: true, withFileTypes: true })
  const kept = entries.filter((entry) => !entry.name.endsWith('.lock'))
  return new Map(
    kept.map((entry) => {
      const path = join(entry.parentPath, entry.name)
      const below = relative(root, path)
      return entry.isDirectory() ? [`${below}/`, ''] : [below, fs.readFileSync(path, 'utf8')]
    }),
  )
}

/** Makes the folder so. */
export function build(root: string, left: Left): void {
  for (const [path, content] of left) {
    if (path.endsWith('/')) fs.mkdirSync(join(root, path), { recursive: true })
    else {
      fs.mkdirSync(dirname(join(root, path)), { recursive: true })
      fs.writeFileSync(join(root, path), content)
    }
  }
}

function lastSyncs(steps: readonly Step[]): Map<Inode, number> {
  const last = new Map<Inode, number>()
  for (const [index, step] of steps.entries()) if (step.do === 'sync') last.set(step.inode, index)
  return last
}

function contentsOf(steps: readonly Step[], flushed: Map<Inode, number>, chance: Chance): Map<Inode, string> {
  const contents = new Map<Inode, string>()
  for (const [index, step] of steps.entries()) {
    if (step.do !== 'write') continue
    const isFlushed = index < (flushed.get(step.inode) ?? -1)
    if (isFlushed || chance() >= 0.5) contents.set(step.inode, step.content)
    else contents.set(step.inode, torn(step.content, chance))
  }
  return contents
}

/** Cut anywhere, or zeros of the full length. */
function torn(content: string, chance: Chance): string {
  if (chance() < 0.25) return '\0'.repeat(content.length)
  return content.slice(0, Math.floor(chance() * content.length))
}
