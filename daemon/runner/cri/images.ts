/**
 * Images of containers: a present one is used, an absent one is pulled in the background, one pull at a time for each
 * name; a failed pull is tried again after 10 s, then 20 s, … 5 min. imagePullPolicy: unset means IfNotPresent, for
 * `:latest` too, so that images made on the spot serve where no registry is in reach.
 */
import type { Container } from '../../cluster/objects.ts'
import { BackOff } from './back-off.ts'
import type { ContainerdClient } from './client.ts'

const RETRY_INITIAL_MS = 10_000
const RETRY_MAX_MS = 300_000

/** Ready, or why the container that wants it has to wait: reason and message as the kubelet words them. */
export type ImageState = { ready: true } | { ready: false; reason: string; message: string }

interface Pull {
  failed?: { atMs: number; message: string }
}

export class Images {
  readonly #client: ContainerdClient
  readonly #backOff = new BackOff(RETRY_INITIAL_MS, RETRY_MAX_MS)
  readonly #pulls = new Map<string, Pull>()
  /** Which containers had their image pulled afresh, for imagePullPolicy Always: once for each container's life. */
  readonly #fresh = new Set<string>()

  constructor(client: ContainerdClient) {
    this.#client = client
  }

  /** `life` names one life of one container: imagePullPolicy Always pulls once in each. */
  async ensure(container: Container, life: string): Promise<ImageState> {
    const { image } = container
    const policy = container.imagePullPolicy ?? 'IfNotPresent'
    const wanted = policy === 'Always' ? `${life} ${image}` : image
    if (policy === 'Always' && this.#fresh.delete(wanted)) return { ready: true }
    if (policy !== 'Always' && (await this.#isPresent(image))) {
      this.#pulls.delete(wanted)
      this.#backOff.forget(wanted)
      return { ready: true }
    }
    if (policy === 'Never') return { ready: false, reason: 'ErrImageNeverPull', message: absentText(image) }
    const pull = this.#pulls.get(wanted)
    if (pull === undefined) this.#pull(image, wanted, policy === 'Always')
    else if (pull.failed !== undefined) return this.#failed(image, wanted, pull.failed, policy === 'Always')
    return { ready: false, reason: 'ContainerCreating', message: `Pulling image ${image}` }
  }

  /** Forgets what concerned only the lives that begin with `life`. */
  forget(life: string): void {
    for (const wanted of this.#pulls.keys()) if (wanted.startsWith(life)) this.#pulls.delete(wanted)
    for (const wanted of this.#fresh) if (wanted.startsWith(life)) this.#fresh.delete(wanted)
    this.#backOff.forget(life)
  }

  async #isPresent(image: string): Promise<boolean> {
    const answer = await this.#client.call('images.ImageStatus', { image: { image } })
    return (answer.image ?? null) !== null
  }

  #failed(image: string, wanted: string, failed: { atMs: number; message: string }, always: boolean): ImageState {
    const remainingMs = this.#backOff.remainingMs(wanted, failed.atMs, performance.now())
    if (remainingMs === 0) this.#pull(image, wanted, always)
    // The first word of a failure is the error itself; once it stands, that polder is waiting.
    const reason = performance.now() - failed.atMs < 2000 ? 'ErrImagePull' : 'ImagePullBackOff'
    return { ready: false, reason, message: failed.message }
  }

  #pull(image: string, wanted: string, always: boolean): void {
    this.#pulls.set(wanted, {})
    this.#client.call('images.PullImage', { image: { image } }, { timeoutMs: Infinity }).then(
      () => {
        this.#pulls.delete(wanted)
        this.#backOff.forget(wanted)
        if (always) this.#fresh.add(wanted)
      },
      (error: Error) => {
        this.#backOff.tried(wanted, performance.now())
        this.#pulls.set(wanted, { failed: { atMs: performance.now(), message: pullText(image, error.message) } })
      },
    )
  }
}

function absentText(image: string): string {
  return `Image ${image} is not on this node and imagePullPolicy is Never. Import it: ctr -n k8s.io images import FILE`
}

function pullText(image: string, cause: string): string {
  return (
    `Image ${image} is not on this node and cannot be pulled: ${cause}. Check its name and that the registry is in ` +
    'reach, or import it: ctr -n k8s.io images import FILE'
  )
}
