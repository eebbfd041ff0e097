/**
 * How long to wait before something that failed is tried again: a first delay, doubled with every further try up to a
 * longest one, and forgotten when 10 min lie between a try and the next failure. Time is an argument, of any clock; one
 * that is set back ends the wait.
 */
const FORGET_MS = 600_000

interface Entry {
  delayMs: number
  triedAtMs: number
}

export class BackOff {
  readonly #initialMs: number
  readonly #maxMs: number
  readonly #entries = new Map<string, Entry>()

  constructor(initialMs: number, maxMs: number) {
    this.#initialMs = initialMs
    this.#maxMs = maxMs
  }

  /** How long a `key` that failed at `failedAtMs` still has to wait at `nowMs`; 0: it may be tried. */
  remainingMs(key: string, failedAtMs: number, nowMs: number): number {
    const entry = this.#entries.get(key)
    if (entry === undefined || failedAtMs - entry.triedAtMs > FORGET_MS) return 0
    return nowMs < failedAtMs ? 0 : Math.max(0, failedAtMs + entry.delayMs - nowMs)
  }

  /** The present delay of `key`, for messages. */
  delayMs(key: string): number {
    return this.#entries.get(key)?.delayMs ?? 0
  }

  /** Counts a try. */
  tried(key: string, nowMs: number): void {
    const previous = this.#entries.get(key)
    const fresh = previous === undefined || nowMs - previous.triedAtMs > FORGET_MS
    const delayMs = fresh ? this.#initialMs : Math.min(previous.delayMs * 2, this.#maxMs)
    this.#entries.set(key, { delayMs, triedAtMs: nowMs })
  }

  /** Forgets every key that begins with `prefix`. */
  forget(prefix: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key)
  }
}
