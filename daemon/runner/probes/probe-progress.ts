/**
 * How far one probe has come: what it says of the container, and when it is to be tried next. Pure: outcomes and times
 * come in, what follows comes out.
 *
 * The word changes when as many outcomes of the other kind as the threshold asks for came in a row.
 */
import type { ProbeTiming } from '../../cluster/probe-objects.ts'

export interface ProbeProgress {
  /** What the probe says of the container now. */
  passes: boolean
  /** So many outcomes in a row were the same … */
  streak: number
  /** … namely these. */
  streakPassed: boolean
  /** When the last try began; undefined before the first. */
  triedAtMs: number | undefined
}

/** Before the first try, with what is believed until the probe says otherwise. */
export function beginProbe(passes: boolean): ProbeProgress {
  return { passes, streak: 0, streakPassed: passes, triedAtMs: undefined }
}

export function noteOutcome(before: ProbeProgress, passed: boolean, triedAtMs: number, timing: ProbeTiming) {
  const streak = passed === before.streakPassed ? before.streak + 1 : 1
  const needed = passed ? timing.successThreshold : timing.failureThreshold
  return { passes: streak >= needed ? passed : before.passes, streak, streakPassed: passed, triedAtMs }
}

/** When the next try is due, for a container that started at `startedAtMs`. */
export function dueAtMs({ triedAtMs }: ProbeProgress, startedAtMs: number, timing: ProbeTiming): number {
  return triedAtMs === undefined ? startedAtMs + timing.initialDelayMs : triedAtMs + timing.periodMs
}
