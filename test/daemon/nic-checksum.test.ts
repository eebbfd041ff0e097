/** The addon's sums against the naive one, at every alignment and every length up to several vectors, and at the largest. */
import { expect, it } from 'vitest'
import { checksum } from '../../daemon/nic/nic.ts'

const ALIGNMENTS = 64
const LENGTHS = 400
const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 2_654_435_761) >>> 24)

/** RFC 1071 word by word: network order, folded, not complemented. */
function sumNaively(from: Uint8Array, start: number, end: number): number {
  let sum = 0
  for (let i = start; i < end; i += 2) sum += (from[i]! << 8) | (i + 1 < end ? from[i + 1]! : 0)
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000)
  return sum
}

it('is the naive sum wherever the bytes begin, however many there are', () => {
  const wrong: string[] = []
  for (let start = 0; start < ALIGNMENTS; start++) {
    for (let length = 0; length <= LENGTHS; length++) {
      const end = start + length
      if (checksum(bytes, start, end) !== sumNaively(bytes, start, end)) wrong.push(`${length} bytes at ${start}`)
    }
  }
  expect(wrong).toEqual([])
})

it.each([
  ['any bytes', bytes],
  ['nothing but ones, which carry everywhere', bytes.map(() => 0xff)],
])('a whole super-packet of %s', (_, content) => {
  for (const end of [65_533, 65_534, 65_535, 65_536]) {
    expect(checksum(content, 1, end)).toBe(sumNaively(content, 1, end))
  }
})
