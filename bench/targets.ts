/**
 * What polder wants to reach, and what it must: for each figure a ratio to the kernel's way, or to the fastest
 * user-space peer, or a value of its own. Judged is the median of the rounds.
 */
import type { Contest } from './contests.ts'
import type { Place } from './peers/peer.ts'
import { type Row, ratioOf } from './rounds.ts'
import { summarise } from './statistics.ts'
import type { Wire } from './topology.ts'

interface Target {
  figures: readonly string[]
  /** Absent: polder's own value is judged, not a ratio. */
  against?: 'kernel' | 'user-space'
  place?: Place
  wire?: Wire
  must: number
  aim: number
}

const TCP = ['TCP 1 stream', 'TCP 4 streams']
export const FLOW_HIT_FIGURE = 'JavaScript a packet, pod to peer'

const TARGETS: readonly Target[] = [
  { figures: TCP, against: 'kernel', place: 'otherNode', wire: 'mtu', must: 1, aim: 1.3 },
  { figures: TCP, against: 'kernel', place: 'otherNode', wire: 'nic', must: 0.9, aim: 1.2 },
  { figures: TCP, against: 'kernel', place: 'otherNode', wire: 'full', must: 0.7, aim: 1 },
  { figures: TCP, against: 'kernel', place: 'sameNode', must: 0.75, aim: 1 },
  { figures: ['UDP 64 B delivered'], against: 'kernel', place: 'otherNode', must: 2, aim: 4 },
  { figures: ['UDP 64 B delivered'], against: 'kernel', place: 'sameNode', must: 1.2, aim: 2 },
  { figures: ['request/response p50'], against: 'kernel', must: 1.4, aim: 1.15 },
  { figures: ['TCP connect/close'], against: 'kernel', place: 'otherNode', must: 0.7, aim: 1 },
  { figures: ['TCP 1 stream'], against: 'user-space', place: 'otherNode', wire: 'mtu', must: 4, aim: 6 },
  { figures: [FLOW_HIT_FIGURE], must: 60, aim: 25 },
  { figures: ["polderd's memory, 110 pods"], must: 120, aim: 70 },
  { figures: ["polderd's CPU when idle, 110 pods"], must: 0.5, aim: 0.1 },
]

export type Reached = 'aim' | 'must' | 'neither'

export interface Verdict {
  against: 'kernel' | 'user-space' | 'value'
  /** The peer that the ratio is to. */
  peer?: string
  value: number
  must: number
  aim: number
  reached: Reached
}

/** Of one row; a row may have a target against the kernel and one against user-space peers. */
export function judge(row: Row, contest: Contest): Verdict[] {
  const meant = TARGETS.filter(
    ({ figures, place, wire }) =>
      figures.includes(row.figure) &&
      (place ?? contest.place) === contest.place &&
      (wire ?? contest.wire) === contest.wire,
  )
  return meant.flatMap((target) => {
    const { against, must, aim } = target
    const measured = against === undefined ? ownValue(row, contest) : lowestRatio(row, contest, against)
    if (measured === undefined) return []
    const reached = reachedBy(measured.value, target, row.better)
    return [{ against: against ?? 'value', ...measured, must, aim, reached }]
  })
}

function ownValue(row: Row, { peers }: Contest): { value: number } | undefined {
  const own = row.values[peers[0]!.name]
  return own === undefined ? undefined : { value: summarise(own).median }
}

/** To the kernel's way there is one ratio; of several user-space peers, the fastest counts. */
function lowestRatio(row: Row, { peers }: Contest, kind: string): { value: number; peer: string } | undefined {
  const ratios = peers
    .filter((peer) => peer.kind === kind)
    .flatMap((peer) => {
      const ratio = ratioOf(row, peers, peer)
      return ratio === undefined ? [] : [{ value: ratio.median, peer: peer.name }]
    })
  return ratios.sort((a, b) => a.value - b.value)[0]
}

function reachedBy(value: number, { must, aim }: Target, better: Row['better']): Reached {
  const holds = (limit: number): boolean => (better === 'more' ? value >= limit : value <= limit)
  if (holds(aim)) return 'aim'
  return holds(must) ? 'must' : 'neither'
}
