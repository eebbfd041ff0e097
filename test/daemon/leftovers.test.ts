/** Leftovers are cleared once all is quiet: garbage is collected, and unused parts of Node's program are resident no more. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const PROBE = join(import.meta.dirname, '../support/leftovers-probe.ts')

it('what comes together is cleared once, and the program needs less memory', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', PROBE])
  const { times, before, after } = JSON.parse(stdout)
  expect(times).toBe(1)
  expect(after).toBeLessThan(before / 2)
})
