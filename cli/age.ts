/** Times as a person reads them in a list: two units at most, the coarser the older (kubectl's steps). */
const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const YEAR = 365 * DAY

/** Age of an ISO timestamp at `nowMs`; `<unknown>` where there is none. */
export function formatAge(timestamp: string | undefined, nowMs: number): string {
  const thenMs = timestamp === undefined ? Number.NaN : Date.parse(timestamp)
  if (Number.isNaN(thenMs)) return '<unknown>'
  return formatSeconds(Math.max(0, Math.floor((nowMs - thenMs) / 1000)))
}

function formatSeconds(seconds: number): string {
  if (seconds < 2 * MINUTE) return `${seconds}s`
  if (seconds < 10 * MINUTE) return pair(seconds, MINUTE, 'm', 1, 's')
  if (seconds < 3 * HOUR) return `${Math.floor(seconds / MINUTE)}m`
  if (seconds < 8 * HOUR) return pair(seconds, HOUR, 'h', MINUTE, 'm')
  if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)}h`
  if (seconds < 8 * DAY) return pair(seconds, DAY, 'd', HOUR, 'h')
  if (seconds < 2 * YEAR) return `${Math.floor(seconds / DAY)}d`
  if (seconds < 8 * YEAR) return pair(seconds, YEAR, 'y', DAY, 'd')
  return `${Math.floor(seconds / YEAR)}y`
}

function pair(seconds: number, large: number, largeName: string, small: number, smallName: string): string {
  const whole = Math.floor(seconds / large)
  const rest = Math.floor((seconds % large) / small)
  return rest === 0 ? `${whole}${largeName}` : `${whole}${largeName}${rest}${smallName}`
}
