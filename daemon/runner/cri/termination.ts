/**
 * How the containers of a pod that is being deleted end, all at the same time: the preStop hook, then SIGTERM, and SIGKILL
 * when the pod's deadline has come, whatever is under way then. The hook's time is part of the grace period.
 *
 * Where polderd died over it, the next one goes on with what is left until the deadline: a sleep ends when it would have,
 * another hook is called again. A hook that fails is told, and changes nothing.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { graceLeftMs } from '../../cluster/deletion.ts'
import type { Pod } from '../../cluster/objects.ts'
import { type ActionTarget, tryAction } from '../probes/actions.ts'
import type { ContainerdClient } from './client.ts'
import { Deadline } from './deadline.ts'

/** Beyond the deadline, for a kernel that takes its time to kill. */
const KILL_PATIENCE_MS = 60_000

/** A container that runs. */
export interface Ending extends ActionTarget {
  id: string
}

export interface TerminationListener {
  /** One more container has ended. */
  onEnded(): void
  onHookFailed(container: string, message: string): void
}

export class Termination {
  readonly #client: ContainerdClient
  readonly #listener: TerminationListener
  readonly #deadline: Deadline
  /** How long ago the pod was deleted, when this began. */
  readonly #elapsedMs: number

  constructor(client: ContainerdClient, pod: Pod, listener: TerminationListener) {
    this.#client = client
    this.#listener = listener
    const leftMs = graceLeftMs(pod, Date.now())
    this.#deadline = new Deadline(leftMs)
    this.#elapsedMs = (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000 - leftMs
  }

  /** The pod was deleted again, with another deadline. */
  hasten(pod: Pod): void {
    this.#deadline.bringForward(graceLeftMs(pod, Date.now()))
  }

  /** Resolves when none of them runs any more. */
  async run(endings: Ending[]): Promise<void> {
    try {
      await Promise.all(endings.map((ending) => this.#end(ending)))
    } finally {
      this.#deadline.cancel()
    }
  }

  async #end(ending: Ending): Promise<void> {
    await Promise.race([this.#callHook(ending), this.#deadline.passed])
    await this.#stop(ending.id)
    this.#listener.onEnded()
  }

  async #callHook(target: Ending): Promise<void> {
    const { name, lifecycle } = target.container
    const hook = lifecycle?.preStop
    if (hook === undefined || this.#deadline.leftMs === 0) return
    if (hook.sleep !== undefined) {
      const leftMs = hook.sleep.seconds * 1000 - this.#elapsedMs
      await delay(Math.max(0, Math.min(leftMs, this.#deadline.leftMs)))
      return
    }
    const { passed, message } = await tryAction(hook, target, this.#deadline.leftMs)
    if (!passed) this.#listener.onHookFailed(name, `its preStop hook failed: ${message}`)
  }

  /** Whole seconds are all that containerd takes: so it is told to kill when the deadline has come. */
  async #stop(id: string): Promise<void> {
    const stop = (leftMs: number) =>
      this.#client.call(
        'runtime.StopContainer',
        { container_id: id, timeout: Math.ceil(leftMs / 1000) },
        { timeoutMs: leftMs + KILL_PATIENCE_MS },
      )
    const { leftMs } = this.#deadline
    if (leftMs === 0) return void (await stop(0))
    const stopped = stop(leftMs)
    const isOver = await Promise.race([stopped.then(() => true), this.#deadline.passed.then(() => false)])
    if (isOver) return
    await Promise.all([stop(0), stopped])
  }
}
