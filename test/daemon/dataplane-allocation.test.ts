/** The data path allocates nothing per packet: a million of them leave the heap as it was. */
import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

/** What reading the heap's size itself costs; one object of 16 bytes a packet would be 16 million. */
const MEASURING_BYTES = 100_000

it('a million packets through every entrance grow the heap by nothing', { timeout: 60_000 }, () => {
  const probe = `${import.meta.dirname}/../support/allocation-probe.ts`
  const flags = ['--expose-gc', '--max-semi-space-size=256', '--min-semi-space-size=256']
  const { grown, packets, seen } = JSON.parse(execFileSync(process.execPath, [...flags, probe], { encoding: 'utf8' }))
  expect(packets).toBeGreaterThanOrEqual(1_000_000)
  expect(Math.min(...seen)).toBeGreaterThan(0)
  expect(grown).toBeLessThan(MEASURING_BYTES)
})
