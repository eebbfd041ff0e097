/**
 * Asks an HTTP server so many times a second, each time over a new connection. Runs as a program of its own (LineProgram):
 * for a line on its stdin it says what came of all requests since the last one: answers by their text, failures by their
 * reason. It waits for requests under way first, and for none longer than 10 s.
 */
import http from 'node:http'
import { createInterface } from 'node:readline'

const ANSWER_PATIENCE_MS = 10_000
const TICK_MS = 5

export interface LoadReport {
  answers: Record<string, number>
  failures: Record<string, number>
}

const [url = '', perSecond = '1'] = process.argv.slice(2)
let report: LoadReport = { answers: {}, failures: {} }
let asked = 0
const underWay = new Set<Promise<void>>()
const start = performance.now()

function count(into: Record<string, number>, key: string): void {
  into[key] = (into[key] ?? 0) + 1
}

function ask(): Promise<void> {
  return new Promise((resolve) => {
    const { answers, failures } = report
    const end = (into: Record<string, number>, key: string) => {
      count(into, key)
      resolve()
    }
    const request = http.get(url, { agent: false, timeout: ANSWER_PATIENCE_MS }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => end(response.statusCode === 200 ? answers : failures, text.trim()))
      response.on('error', (error: NodeJS.ErrnoException) => end(failures, error.code ?? error.message))
    })
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', (error: NodeJS.ErrnoException) => end(failures, error.code ?? error.message))
  })
}

setInterval(() => {
  const due = ((performance.now() - start) / 1000) * Number(perSecond)
  for (; asked < due; asked++) {
    const one = ask().finally(() => underWay.delete(one))
    underWay.add(one)
  }
}, TICK_MS)

const lines = createInterface({ input: process.stdin })
lines.on('line', async () => {
  const said = report
  report = { answers: {}, failures: {} }
  await Promise.all(underWay)
  console.log(JSON.stringify(said))
})
lines.on('close', () => process.exit(0))
console.log('ready')
