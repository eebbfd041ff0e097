/**
 * Tests on a real kernel, as root: namespaces, devices, containerd. Every file makes its own namespaces and labs under
 * names with its process id, so two files can run beside each other; more would only make the machine's timing uneven.
 *
 * What fails is tried once more, and marked `(retry x1)` in what is printed: on a machine that others use, too, a moment's
 * standstill can be theirs. One that is marked again and again is a defect, of the test or of polder.
 */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: `${import.meta.dirname}/..`,
    include: ['test/{kernel,netns,containers}/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    retry: 1,
    testTimeout: 60_000,
    hookTimeout: 180_000,
    teardownTimeout: 30_000,
  },
})
