/**
 * Mutations that know nothing of the format: bits, bytes and numbers changed, pieces removed, doubled, moved, taken from
 * another input. A target adds what it knows: words of its language, or mutations of its own.
 */
import type { Random } from './random.ts'

/** Where lengths, offsets and counts turn over. */
const INTERESTING = [0, 1, 2, 3, 4, 7, 8, 15, 16, 20, 40, 60, 63, 64, 127, 128, 254, 255, 256, 1280, 1450, 1500]
const INTERESTING_16 = [...INTERESTING, 0x7fff, 0x8000, 0xfffe, 0xffff]
const STEPS_MAX = 5

type Step = (bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array

function changeByte(change: (old: number, random: Random) => number): Step {
  return (bytes, random) => {
    const at = random.below(bytes.length)
    if (bytes.length > 0) bytes[at] = change(bytes[at]!, random)
    return bytes
  }
}

const overwriteNumber: Step = (bytes, random) => {
  if (bytes.length < 4) return bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const value = random.pick(INTERESTING_16)
  const little = random.below(3) === 0
  if (random.below(4) === 0) view.setUint32(random.below(bytes.length - 3), value, little)
  else view.setUint16(random.below(bytes.length - 1), value, little)
  return bytes
}

const remove: Step = (bytes, random) => {
  const at = random.below(bytes.length)
  const count = 1 + random.below(Math.min(bytes.length - at, random.pick([1, 4, 8, 64])))
  return join(bytes.subarray(0, at), bytes.subarray(at + count))
}

const cutShort: Step = (bytes, random) => bytes.slice(0, random.below(bytes.length + 1))

const double: Step = (bytes, random) => {
  const at = random.below(bytes.length)
  const piece = bytes.subarray(at, at + 1 + random.below(random.pick([4, 8, 40])))
  return join(bytes.subarray(0, at), piece, bytes.subarray(at))
}

const insert: Step = (bytes, random) => {
  const at = random.below(bytes.length + 1)
  const filling = random.below(256)
  const piece = Uint8Array.from({ length: 1 + random.below(8) }, () => (random.below(2) ? filling : random.below(256)))
  return join(bytes.subarray(0, at), piece, bytes.subarray(at))
}

const splice: Step = (bytes, random, other) => {
  const cut = random.below(Math.min(bytes.length, other.length) + 1)
  return join(bytes.subarray(0, cut), other.subarray(random.below(3) === 0 ? random.below(other.length + 1) : cut))
}

const STEPS: readonly Step[] = [
  changeByte((_, random) => random.below(256)),
  changeByte((old, random) => old ^ (1 << random.below(8))),
  changeByte((old, random) => old + random.pick([-1, 1, -4, 4])),
  changeByte((_, random) => random.pick(INTERESTING)),
  overwriteNumber,
  remove,
  cutShort,
  double,
  insert,
  splice,
]

/** A changed copy of `input`; `other` is another input to take pieces from. */
export function mutate(input: Uint8Array, other: Uint8Array, words: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = input.slice()
  for (let steps = 1 + random.below(STEPS_MAX); steps > 0; steps--) {
    if (words.length > 0 && random.below(3) === 0) {
      const at = random.below(bytes.length + 1)
      const replaced = random.below(2) === 0 ? 0 : random.below(bytes.length - at + 1)
      bytes = join(bytes.subarray(0, at), random.pick(words), bytes.subarray(at + Math.min(replaced, 16)))
    } else bytes = random.pick(STEPS)(bytes, random, other) as Uint8Array<ArrayBuffer>
  }
  return bytes
}

export function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
