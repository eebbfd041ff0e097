/** What traffic (traffic.ts) saw in a window of time, as figures a second and shares, and a table of such windows. */
import { setTimeout as delay } from 'node:timers/promises'
import { until } from './netns.ts'
import type { Longest, Traffic, TrafficSeen } from './traffic.ts'

export interface Observation extends Longest {
  tcpMbit: number
  /** Requests that were answered. */
  answered: number
  /** Connections that have ended so far. */
  connectionsLost: number
  /** TCP answers and datagrams whose content was not what was sent. */
  changed: number
  udpSent: number
  udpLostPercent: number
  udpDuplicates: number
  udpReordered: number
}

/** What is on its way when the window begins or ends counts as lost or as found again: some datagrams. */
export function observe(traffic: Traffic, durationMs: number): Promise<Observation> {
  return observed(traffic, () => delay(durationMs))
}

/** The window is as long as `work` takes. */
export async function observed(traffic: Traffic, work: () => Promise<unknown>): Promise<Observation> {
  const before = await traffic.report()
  const longest = traffic.watch()
  const startedMs = performance.now()
  try {
    await work()
    const after = await traffic.report()
    return difference(before, after, longest, performance.now() - startedMs)
  } finally {
    traffic.unwatch(longest)
  }
}

function difference(before: TrafficSeen, after: TrafficSeen, longest: Longest, durationMs: number): Observation {
  const { bulk, steady, numbered, sent } = after
  const udpSent = sent.sent - before.sent.sent
  const udpReceived = numbered.received - before.numbered.received
  return {
    ...longest,
    tcpMbit: ((bulk.bytes - before.bulk.bytes) * 8) / 1000 / durationMs,
    answered: steady.answered - before.steady.answered,
    connectionsLost: steady.lost,
    changed: numbered.changed - before.numbered.changed + steady.changed - before.steady.changed,
    udpSent,
    udpLostPercent: (1 - udpReceived / udpSent) * 100,
    udpDuplicates: numbered.duplicates - before.numbered.duplicates,
    udpReordered: numbered.reordered - before.numbered.reordered,
  }
}

const HEALTHY_WINDOW_MS = 250
/** A datagram or two on its way at the window's edges. */
const EDGE_DATAGRAMS = 5

/** Resolves to how long it took until all traffic was as it should be, for a window's length. */
export async function healed(traffic: Traffic, limitMs: number): Promise<number> {
  const startedMs = performance.now()
  let seen: Observation | undefined
  const isWell = async (): Promise<boolean> => {
    seen = await observe(traffic, HEALTHY_WINDOW_MS)
    const lost = (seen.udpSent * Math.abs(seen.udpLostPercent)) / 100
    const { waitingMs } = (await traffic.report()).steady
    return lost <= EDGE_DATAGRAMS && seen.tcpMbit > 0 && waitingMs < HEALTHY_WINDOW_MS
  }
  try {
    await until(isWell, limitMs)
  } catch {
    throw new Error(`not well within ${limitMs} ms; the last window: ${JSON.stringify(seen)}`)
  }
  return Math.max(0, performance.now() - startedMs - HEALTHY_WINDOW_MS)
}

/** One line a row, columns as wide as they must be; numbers to the right. */
export function tableOf(rows: Record<string, string | number>[]): string {
  const names = Object.keys(rows[0] ?? {})
  const text = (value: string | number): string => (typeof value === 'number' ? shortened(value) : value)
  const widths = names.map((name) => Math.max(name.length, ...rows.map((row) => text(row[name]!).length)))
  const line = (row: Record<string, string | number>): string =>
    names
      .map((name, i) =>
        typeof rows[0]![name] === 'number'
          ? text(row[name]!).padStart(widths[i]!)
          : text(row[name]!).padEnd(widths[i]!),
      )
      .join('  ')
  return [line(Object.fromEntries(names.map((name) => [name, name]))), ...rows.map(line)].join('\n')
}

function shortened(value: number): string {
  return Math.abs(value) >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1)
}
