/** A moment that may come sooner than was said first, never later. It minds no clock that is set. */
export class Deadline {
  readonly #passed = Promise.withResolvers<void>()
  #atMs: number
  #timer: NodeJS.Timeout | undefined

  constructor(leftMs: number) {
    this.#atMs = performance.now() + leftMs
    this.#arm()
  }

  get leftMs(): number {
    return Math.max(0, this.#atMs - performance.now())
  }

  /** Resolves when it has come. */
  get passed(): Promise<void> {
    return this.#passed.promise
  }

  bringForward(leftMs: number): void {
    const atMs = performance.now() + leftMs
    if (atMs >= this.#atMs) return
    this.#atMs = atMs
    this.#arm()
  }

  /** Nobody waits for it any more. */
  cancel(): void {
    clearTimeout(this.#timer)
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#passed.resolve(), this.leftMs)
  }
}
