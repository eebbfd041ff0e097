/**
 * Run as a process of its own, with --expose-gc: something leaves leftovers three times; prints, as JSON, how often they were
 * cleared, and how much of files (Node's program, above all) was resident before and after.
 */
import { readFileSync } from 'node:fs'
import { Leftovers } from '../../daemon/dataplane/leftovers.ts'

function residentFilesKiB(): number {
  return Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1])
}

const collect = globalThis.gc!
let times = 0
globalThis.gc = ((options: NodeJS.GCOptions) => {
  times++
  collect(options)
}) as typeof collect

const leftovers = new Leftovers()
const before = residentFilesKiB()
for (let i = 0; i < 3; i++) leftovers.add()
// The timer of leftovers keeps no process alive.
const wait = setInterval(() => {
  if (times === 0) return
  clearInterval(wait)
  process.stdout.write(JSON.stringify({ times, before, after: residentFilesKiB() }))
}, 10)
