/** The fast tests: no root, no network, nothing installed beyond npm's packages. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: `${import.meta.dirname}/..`,
    include: ['test/*.test.ts', 'test/{packet,daemon,cli,bench,fuzz}/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
  },
})
