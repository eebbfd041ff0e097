/**
 * Probes the containers that run, and keeps what their probes say. It is told which containers those are (`follow`), says
 * what follows for each (`verdict`), and calls back when that changes.
 *
 * A startup probe goes before the others. A container without a readiness probe is ready; one that was ready for an
 * earlier polderd is ready until a probe has failed as often as it takes. It stops and starts nothing.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Container } from '../../cluster/objects.ts'
import { PROBE_KINDS, type Probe, type ProbeKind, timingOf } from '../../cluster/probe-objects.ts'
import { type ActionTarget, tryProbe } from './actions.ts'
import type { Outcome } from './outcome.ts'
import { beginProbe, dueAtMs, noteOutcome, type ProbeProgress } from './probe-progress.ts'

/** Timers do not reach further. */
const TIMER_MS_MAX = 2_147_483_647

/** A container that runs. */
export interface Probed extends ActionTarget {
  id: string
  startedAtMs: number
  /** Whether it counted as ready when last somebody looked. */
  wasReady: boolean
}

export interface Verdict {
  ready: boolean
  /** Why it is not, or is about not to be. */
  message?: string
  /** The probe whose failure means that the container has to be stopped. */
  failed?: { kind: ProbeKind; probe: Probe; message: string }
}

interface Course {
  probe: Probe
  progress: ProbeProgress
  last: Outcome | undefined
  timer: NodeJS.Timeout | undefined
  isTrying: boolean
}

interface Followed {
  uid: string
  probed: Probed
  courses: Map<ProbeKind, Course>
}

export class Prober {
  readonly #followed = new Map<string, Followed>()
  readonly #revisions = new Map<string, number>()
  readonly #onNews: (uid: string, container: Container, verdict: Verdict) => void
  #paused = false

  constructor(onNews: (uid: string, container: Container, verdict: Verdict) => void) {
    this.#onNews = onNews
  }

  /** From now on exactly these containers of the pod are probed. */
  follow(uid: string, running: Probed[]): void {
    for (const [id, followed] of this.#followed) {
      if (followed.uid === uid && !running.some((probed) => probed.id === id)) this.#drop(id)
    }
    for (const probed of running) this.#take(uid, probed)
  }

  forget(uid: string): void {
    this.follow(uid, [])
    this.#revisions.delete(uid)
  }

  /** Undefined for a container that is not followed. */
  verdict(id: string): Verdict | undefined {
    const followed = this.#followed.get(id)
    return followed === undefined ? undefined : verdictOf(followed.courses)
  }

  /** Counts the changes of verdicts about the pod's containers. */
  revision(uid: string): number {
    return this.#revisions.get(uid) ?? 0
  }

  /** Another polderd probes. */
  pause(): void {
    this.#paused = true
    for (const { courses } of this.#followed.values()) for (const { timer } of courses.values()) clearTimeout(timer)
  }

  resume(): void {
    this.#paused = false
    for (const followed of this.#followed.values()) this.#schedule(followed)
  }

  #drop(id: string): void {
    for (const { timer } of this.#followed.get(id)?.courses.values() ?? []) clearTimeout(timer)
    this.#followed.delete(id)
  }

  #take(uid: string, probed: Probed): void {
    const before = this.#followed.get(probed.id)
    const courses = new Map<ProbeKind, Course>()
    for (const kind of PROBE_KINDS) {
      const probe = probed.container[kind]
      if (probe === undefined) continue
      const known = before?.courses.get(kind)
      // Only a probe that asks for the same goes on where it was.
      if (known !== undefined && isDeepStrictEqual(known.probe, probe)) courses.set(kind, known)
      else courses.set(kind, newCourse(probe, belief(kind, probed, known)))
    }
    for (const course of before?.courses.values() ?? []) clearTimeout(course.timer)
    const followed = { uid, probed, courses }
    this.#followed.set(probed.id, followed)
    this.#schedule(followed)
  }

  /** Those whose turn it is: the startup probe until it has passed, then the others. */
  #schedule(followed: Followed): void {
    if (this.#paused || this.#followed.get(followed.probed.id) !== followed) return
    const startup = followed.courses.get('startupProbe')
    for (const [kind, course] of followed.courses) {
      clearTimeout(course.timer)
      const isTurn =
        startup === undefined || startup.progress.passes ? kind !== 'startupProbe' : kind === 'startupProbe'
      if (!isTurn || course.isTrying) continue
      const due = dueAtMs(course.progress, followed.probed.startedAtMs, timingOf(course.probe))
      // A clock that was set back does not keep a probe waiting longer than it would have.
      const { initialDelayMs, periodMs } = timingOf(course.probe)
      const waitMs = Math.min(Math.max(0, due - Date.now()), Math.max(initialDelayMs, periodMs), TIMER_MS_MAX)
      course.timer = setTimeout(() => void this.#try(followed, course), waitMs).unref()
    }
  }

  async #try(followed: Followed, course: Course): Promise<void> {
    const { uid, probed } = followed
    const timing = timingOf(course.probe)
    const triedAtMs = Date.now()
    course.isTrying = true
    const outcome = await tryProbe(course.probe, probed, timing.timeoutMs)
    course.isTrying = false
    // The container may have ended, or been given another probe, while this one was asked.
    const current = this.#followed.get(probed.id)
    if (this.#paused || ![...(current?.courses.values() ?? [])].includes(course)) return
    const before = verdictOf(current!.courses)
    course.progress = noteOutcome(course.progress, outcome.passed, triedAtMs, timing)
    course.last = outcome
    this.#schedule(current!)
    const after = verdictOf(current!.courses)
    if (isDeepStrictEqual(before, after)) return
    this.#revisions.set(uid, this.revision(uid) + 1)
    this.#onNews(uid, current!.probed.container, after)
  }
}

function newCourse(probe: Probe, passes: boolean): Course {
  return { probe, progress: beginProbe(passes), last: undefined, timer: undefined, isTrying: false }
}

/** What is believed before a probe has said anything. */
function belief(kind: ProbeKind, { wasReady }: Probed, known: Course | undefined): boolean {
  if (kind === 'livenessProbe') return true
  return known?.progress.passes ?? wasReady
}

function verdictOf(courses: Map<ProbeKind, Course>): Verdict {
  const startup = courses.get('startupProbe')
  if (startup !== undefined && !startup.progress.passes) {
    const message = words('startup', startup)
    return { ready: false, message, ...failure('startupProbe', startup, message) }
  }
  const liveness = courses.get('livenessProbe')
  const failed = liveness === undefined ? {} : failure('livenessProbe', liveness, words('liveness', liveness))
  const readiness = courses.get('readinessProbe')
  if (readiness === undefined || readiness.progress.passes) return { ready: true, ...failed }
  return { ready: false, message: words('readiness', readiness), ...failed }
}

/** A startup probe has not passed from the beginning: what counts is how often it failed. */
function failure(kind: ProbeKind, { probe, progress, last }: Course, message: string): Pick<Verdict, 'failed'> {
  const { failureThreshold } = timingOf(probe)
  const isOver = !progress.streakPassed && progress.streak >= failureThreshold && last?.passed === false
  return isOver ? { failed: { kind, probe, message } } : {}
}

function words(name: string, { last }: Course): string {
  if (last === undefined || last.passed) return `its ${name} probe has not passed yet`
  return `its ${name} probe failed: ${last.message}`
}
