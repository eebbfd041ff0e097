/** Who hangs and who does not, by what the watch sees of a thread: its breath, its packet, its processor time. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { afterEach, expect, it } from 'vitest'
import { TRIES } from '../../daemon/dataplane/batch-memory.ts'
import { BREATH, CONTROL_WORDS, THREAD, WATCH_SLEEPS } from '../../daemon/dataplane/protocol.ts'
import { Watch } from '../../daemon/dataplane/watch.ts'
import { until } from '../support/until.ts'

const LONG_MS = 500

let worker: Worker | undefined
let watch: Watch | undefined
afterEach(async () => {
  watch?.stop()
  await worker?.terminate()
})

/** A thread that says its number and then does `what` for ever, watched while at its first packet. */
async function watched(what: string, breath: number): Promise<{ control: Int32Array; hung: () => number }> {
  const control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4))
  const progress = new Int32Array(new SharedArrayBuffer(32))
  let hung = 0
  watch = new Watch(control, progress, () => hung++)
  progress[TRIES] = 1
  control[BREATH] = breath
  const code = `const { workerData } = require('node:worker_threads')
    workerData[${THREAD}] = Number(require('node:fs').readlinkSync('/proc/thread-self').split('/').at(-1))
    for (;;) ${what}`
  worker = new Worker(code, { eval: true, workerData: control })
  await until(() => control[THREAD] !== 0 || hung > 0)
  return { control, hung: () => hung }
}

it('an endless loop at a packet is a hang, told once', async () => {
  const { hung } = await watched(';', 1)
  await until(() => hung() > 0)
  await sleep(LONG_MS)
  expect(hung()).toBe(1)
})

it('a thread that gets no processor does not hang', async () => {
  const { hung } = await watched('Atomics.wait(workerData, 7, 0, 1000)', 1)
  await sleep(LONG_MS)
  expect(hung()).toBe(0)
})

it('a thread that goes on to the next batch does not hang', async () => {
  const { hung } = await watched(`workerData[${BREATH}] += 2`, 1)
  await sleep(LONG_MS)
  expect(hung()).toBe(0)
})

it('the watch sleeps while nothing happens, and a batch wakes it', async () => {
  const { control, hung } = await watched(';', 2)
  await until(() => control[WATCH_SLEEPS] === 1)
  await sleep(LONG_MS)
  expect(hung()).toBe(0)
  control[BREATH] = 3
  Atomics.store(control, WATCH_SLEEPS, 0)
  Atomics.notify(control, WATCH_SLEEPS)
  await until(() => hung() === 1)
})

it('a hang that nothing wakes it for is noticed in its sleep', async () => {
  const { control, hung } = await watched(';', 2)
  await until(() => control[WATCH_SLEEPS] === 1)
  control[BREATH] = 3
  await until(() => hung() === 1)
})
