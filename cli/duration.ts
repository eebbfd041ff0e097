/** Durations as options take them: `30s`, `2m`, `1h30m`, `500ms`, or a bare number of seconds. */
import { InvalidArgumentError } from 'commander'

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds; for commander, which prints the error with the option's name. */
export function parseDuration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new InvalidArgumentError('A duration is written as 30s, 2m, 1h30m or 500ms.')
  }
  let ms = 0
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) ms += Number(count) * UNIT_MS[unit!]!
  return ms
}
