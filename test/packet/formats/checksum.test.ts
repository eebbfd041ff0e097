/** The Internet checksum against the examples of RFC 1071 and 1624, and against a slow and plain sum. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as checksum from '../../../packet/formats/checksum.ts'
import { fromHex, viewOf } from '../../support/hex.ts'

/** RFC 1071 word by word, folding at once: slow and plain. */
function naiveSum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

const half = fc.nat(0xffff)
const word = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 0xffff, -0x10000), fc.nat(0xffffffff))

describe('sum', () => {
  test('the example of RFC 1071 section 3', () => {
    const bytes = fromHex('0001 f203 f4f5 f6f7')
    expect(checksum.sum(viewOf(bytes), 0, 8)).toBe(0xddf2)
    expect(checksum.complement(0xddf2)).toBe(0x220d)
  })

  test('of nothing is 0, of ones is 0xffff', () => {
    expect(checksum.sum(viewOf(new Uint8Array(4)), 2, 2)).toBe(0)
    expect(checksum.sum(viewOf(fromHex('ffff')), 0, 2)).toBe(0xffff)
  })

  test('equals the naive sum over any range of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), fc.nat(200), (bytes, a, b) => {
        const at = Math.min(a, b, bytes.length)
        const end = Math.min(Math.max(a, b), bytes.length)
        expect(checksum.sum(viewOf(bytes), at, end)).toBe(naiveSum(bytes.subarray(at, end)))
      }),
    )
  })

  test('does not overflow on the largest super-packet, nor on 128 KiB of ones', () => {
    for (const length of [65535, 131072]) {
      const bytes = new Uint8Array(length).fill(0xff)
      expect(checksum.sum(viewOf(bytes), 0, length)).toBe(naiveSum(bytes))
    }
  })

  test('of parts adds up', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(50), (bytes, words) => {
        const view = viewOf(bytes)
        const cut = Math.min(words * 2, bytes.length & ~1)
        const parts = checksum.sum(view, 0, cut) + checksum.sum(view, cut, bytes.length)
        expect(checksum.fold(parts)).toBe(checksum.sum(view, 0, bytes.length))
      }),
    )
  })
})

test('fold keeps the value modulo 0xffff, and nothing but 0 becomes 0', () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), (sum) => {
      const folded = checksum.fold(sum)
      expect(folded % 0xffff).toBe(sum % 0xffff)
      expect(folded <= 0xffff && (folded === 0) === (sum === 0)).toBe(true)
    }),
  )
})

test('the pseudo-header of either family', () => {
  // 192.168.1.2 to .1, TCP of 7,022 bytes, and two IPv6 hosts, UDP of 6,972: what test/vectors' senders left in the field.
  const v4 = fromHex('c0a8 0102 c0a8 0101')
  expect(checksum.pseudoHeader(viewOf(v4), 0, 8, 6, 7022)).toBe(0x9ec8)
  const v6 = fromHex('2604 1380 4091 ce00 0000 0000 0000 000b 2604 1380 4091 ce00 0000 0000 0000 000d')
  expect(checksum.pseudoHeader(viewOf(v6), 0, 32, 17, 6972)).toBe(0xab91)
})

describe('incremental', () => {
  test('the example of RFC 1624 section 4', () => {
    expect(checksum.adjustHalf(0xdd2f, 0x5555, 0x3285)).toBe(0x0000)
  })

  test('a changed half: the same bits as a full sum', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 60 }), half, fc.nat(), (bytes, value, where) => {
        const view = viewOf(bytes)
        const at = (where % (bytes.length >> 1)) * 2
        const old = view.getUint16(at)
        const before = naiveSum(bytes)
        view.setUint16(at, value)
        fc.pre(before !== 0 && naiveSum(bytes) !== 0)
        expect(checksum.adjustHalf(checksum.complement(before), old, value)).toBe(checksum.complement(naiveSum(bytes)))
        expect(checksum.adjustHalfPartial(before, old, value)).toBe(naiveSum(bytes))
      }),
    )
  })

  test('a changed word, signed or unsigned: the same bits as a full sum', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 60 }), word, fc.nat(), (bytes, value, where) => {
        const view = viewOf(bytes)
        const at = (where % ((bytes.length >> 1) - 1)) * 2
        const old = view.getInt32(at)
        const before = naiveSum(bytes)
        view.setInt32(at, value)
        fc.pre(before !== 0 && naiveSum(bytes) !== 0)
        const after = naiveSum(bytes)
        for (const oldWord of [old, old >>> 0]) {
          expect(checksum.adjustWord(checksum.complement(before), oldWord, value)).toBe(checksum.complement(after))
          expect(checksum.adjustWordPartial(before, oldWord, value)).toBe(after)
        }
      }),
    )
  })
})
