/**
 * Adds up what vitest reported as JSON: prints `PASSED FAILED SKIPPED`. A test file that could not be loaded has no
 * tests to count, so each one counts as a failure.
 *
 *   test-count.ts REPORT...
 */
import { readFileSync } from 'node:fs'

interface Report {
  testResults: { status: string; assertionResults: { status: string }[] }[]
}

const total = { passed: 0, failed: 0, skipped: 0 }
for (const file of process.argv.slice(2)) {
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report
  for (const { status, assertionResults } of report.testResults) {
    const failed = assertionResults.filter((test) => test.status === 'failed').length
    const passed = assertionResults.filter((test) => test.status === 'passed').length
    total.passed += passed
    total.failed += status === 'failed' ? Math.max(failed, 1) : failed
    total.skipped += assertionResults.length - failed - passed
  }
}
console.log(`${total.passed} ${total.failed} ${total.skipped}`)
