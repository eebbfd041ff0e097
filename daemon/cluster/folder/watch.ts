/**
 * Notices what happens in the folder, whoever does it: inotify (fs.watch) on every directory, those of new namespaces
 * too, gathered for a few milliseconds so that an editor's several steps count as one; and a slow look at everything, for
 * what inotify missed (an overflow, no watches left, a directory that was replaced).
 *
 * It reads no file: it tells which ones to read.
 */
import { type FSWatcher, mkdirSync, readdirSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import { FIXED_FOLDERS, NAMESPACED_FOLDERS, TERMINATING_FOLDER } from './layout.ts'

/** After the last event of a series, but never longer than GATHER_MS_MAX after the first. */
const GATHER_MS = 10
const GATHER_MS_MAX = 40
const RESCAN_MS = 5000

export interface WatchOwner {
  /** Something happened to these files. */
  onEvents(paths: Set<string>): void
  /** Everything that is there; most of it unchanged. */
  onRescan(paths: Set<string>): void
  onTrouble(directory: string, error: Error): void
  /** The directory is watched, whatever was told of it before. */
  onWatched(directory: string): void
}

export class FolderWatch {
  readonly #folder: string
  readonly #owner: WatchOwner
  readonly #watchers = new Map<string, { inode: number; watcher: FSWatcher | undefined }>()
  #dirty = new Set<string>()
  #rescanDue = false
  #firstEventAt = 0
  #lastEventAt = 0
  #gatherTimer: NodeJS.Timeout | undefined
  readonly #rescanTimer: NodeJS.Timeout

  constructor(folder: string, owner: WatchOwner) {
    this.#folder = folder
    this.#owner = owner
    this.#rescanTimer = setInterval(() => this.rescan(), RESCAN_MS).unref()
    this.#watchDirectories()
  }

  rescan(): void {
    this.#watchDirectories()
    this.#owner.onRescan(this.#everyPath())
  }

  close(): void {
    clearInterval(this.#rescanTimer)
    clearTimeout(this.#gatherTimer)
    for (const { watcher } of this.#watchers.values()) watcher?.close()
    this.#watchers.clear()
  }

  /** Watches what is there now and no longer what is gone; marks the contents of new directories. */
  #watchDirectories(): void {
    const present = this.#directories()
    for (const [directory, { inode, watcher }] of this.#watchers) {
      if (present.get(directory) === inode) continue
      watcher?.close()
      this.#watchers.delete(directory)
      // Its files may have gone with it, without an event of their own.
      this.#rescanDue = true
      this.#mark(directory)
    }
    for (const [directory, inode] of present) {
      if (this.#watchers.get(directory)?.watcher !== undefined) continue
      this.#watchers.set(directory, { inode, watcher: this.#watch(directory) })
      for (const name of namesIn(join(this.#folder, directory))) this.#mark(join(directory, name))
    }
  }

  #watch(directory: string): FSWatcher | undefined {
    try {
      const watcher = watch(join(this.#folder, directory), (_event, name) => {
        if (directory === '' || NAMESPACED_FOLDERS.includes(directory)) this.#watchDirectories()
        if (name !== null) this.#mark(join(directory, name))
        else this.rescan()
      })
      watcher.on('error', (error) => this.#owner.onTrouble(directory, error))
      this.#owner.onWatched(directory)
      return watcher
    } catch (error) {
      this.#owner.onTrouble(directory, error as Error)
      return undefined
    }
  }

  #directories(): Map<string, number> {
    for (const fixed of FIXED_FOLDERS) this.#putBack(fixed)
    const present = new Map<string, number>()
    for (const directory of [
      '',
      'nodes',
      'namespaces',
      TERMINATING_FOLDER,
      ...NAMESPACED_FOLDERS.flatMap((one) => this.#withInner(one)),
    ]) {
      const inode = inodeOf(join(this.#folder, directory))
      if (inode !== undefined) present.set(directory, inode)
    }
    return present
  }

  /** A folder and those of the namespaces in it. */
  #withInner(folder: string): string[] {
    const namespaces = namesIn(join(this.#folder, folder)).filter((name) => !name.startsWith('.'))
    return [folder, ...namespaces.map((name) => join(folder, name))]
  }

  /** Nothing here may throw: a full or read-only disk must not end polderd from within a timer. */
  #putBack(directory: string): void {
    try {
      mkdirSync(join(this.#folder, directory), { recursive: true })
    } catch (error) {
      this.#owner.onTrouble(directory, error as Error)
    }
  }

  #everyPath(): Set<string> {
    const paths = new Set<string>()
    for (const directory of this.#watchers.keys()) {
      const before = directory === '' ? '' : `${directory}/`
      for (const name of namesIn(join(this.#folder, directory))) paths.add(before + name)
    }
    return paths
  }

  #mark(path: string): void {
    this.#lastEventAt = performance.now()
    if (this.#dirty.size === 0) this.#firstEventAt = this.#lastEventAt
    this.#dirty.add(path)
    this.#gatherTimer ??= setTimeout(() => this.#flush(), GATHER_MS)
  }

  #flush(): void {
    const due = Math.min(this.#lastEventAt + GATHER_MS, this.#firstEventAt + GATHER_MS_MAX)
    const left = due - performance.now()
    this.#gatherTimer = left > 0 ? setTimeout(() => this.#flush(), left) : undefined
    if (left > 0) return
    const paths = this.#dirty
    this.#dirty = new Set()
    this.#owner.onEvents(paths)
    if (!this.#rescanDue) return
    this.#rescanDue = false
    this.#owner.onRescan(this.#everyPath())
  }
}

/** Undefined for what is no directory (any more), or cannot be looked at. */
function inodeOf(directory: string): number | undefined {
  try {
    const stat = statSync(directory)
    return stat.isDirectory() ? stat.ino : undefined
  } catch {
    return undefined
  }
}

/** Empty for what is no directory (any more). */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
