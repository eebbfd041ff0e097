/**
 * Loaded into a polderd by `--import`, workers included: makes its data path die of packets whose payload ends in one
 * of these words. The product has no such hook; the class of the packet at hand is patched from outside.
 *
 *   poison-throw         an exception, each time
 *   poison-loops         an endless loop, each time
 *   poison-once-NNNN     an exception at the first try only; a file in TEST_POLDER_POISON tells the tries apart
 *
 * SIGUSR2 keeps the main thread busy for half a second.
 */
import { writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { Packet } from '../../packet/packet.ts'

const LENGTH = 'poison-throw'.length
const DASH = '-'.charCodeAt(0)
const once = /^poison-once-\d{4}$/
const { set } = Packet.prototype

if (isMainThread) {
  process.on('SIGUSR2', () => {
    const end = performance.now() + 500
    while (performance.now() < end);
  })
} else {
  Packet.prototype.set = function (at, length) {
    set.call(this, at, length)
    const { bytes, end } = this
    // What is no poison must not cost anything: bulk traffic passes here too.
    if (bytes[end - LENGTH + 6] === DASH) die(text(bytes, end, LENGTH))
    else if (bytes[end - 5] === DASH) die(text(bytes, end, 16))
  }
}

function text(bytes: Uint8Array, end: number, length: number): string {
  return Buffer.from(bytes.slice(end - length, end)).toString('latin1')
}

function die(word: string): void {
  if (word === 'poison-throw') throw new Error('poisoned')
  if (word === 'poison-loops') for (;;);
  if (!once.test(word)) return
  try {
    writeFileSync(`${process.env['TEST_POLDER_POISON']}/${word}`, '', { flag: 'wx' })
  } catch {
    return
  }
  throw new Error('poisoned once')
}
