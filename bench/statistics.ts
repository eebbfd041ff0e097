/** What becomes of several values of one thing. */

export interface Summary {
  median: number
  min: number
  max: number
}

export function summarise(values: readonly number[]): Summary {
  return { median: percentile(values, 0.5), min: Math.min(...values), max: Math.max(...values) }
}

/** Between two values, in proportion. `share` is 0 to 1. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)]!
  return below + (sorted[Math.ceil(at)]! - below) * (at % 1)
}
