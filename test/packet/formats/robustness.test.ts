/**
 * The contract of every format: check() answers for any bytes without throwing, and where it says yes, every accessor
 * answers and reads nothing beyond the end, and write(read()) changes no byte. The view ends where the bytes end, so an
 * accessor that reads beyond them throws.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as arp from '../../../packet/formats/arp.ts'
import * as ethernet from '../../../packet/formats/ethernet.ts'
import * as icmp from '../../../packet/formats/icmp.ts'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import * as sctp from '../../../packet/formats/sctp.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import * as vxlan from '../../../packet/formats/vxlan.ts'
import { type Format, place, writtenAgain } from '../../support/header-cases.ts'
import { fromHex, toHex } from '../../support/hex.ts'

/** Each with a header to mutate: random bytes alone are hardly ever well formed. */
const FORMATS: [name: string, format: object, sample: string][] = [
  ['ethernet', ethernet, '0016 3e08 71cf 36dc 851e b340 0800'],
  ['arp', arp, '0001 0800 0604 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03'],
  ['ipv4', ipv4, '4600 0018 0000 0000 0102 0000 0a00 0001 e000 0016 9404 0000'],
  ['ipv6', ipv6, `6000 0000 0010 2c40 ${'0000'.repeat(16)} 3c00 0001 0000 002a 0600 0000 0000 0000`],
  ['tcp', tcp, '90eb a24b 72c5 d578 9bd3 a673 8018 00a6 9ec8 0000 0101 080a dd7e 04af 35a5 fd46'],
  ['udp', udp, 'ebb9 12b5 000a 37fc 0102'],
  ['sctp', sctp, '8045 9000 0000 0000 7856 3412 0100 0014'],
  ['icmp', icmp, '0800 f6f2 050c 0001'],
  ['icmpv6', icmpv6, '8000 1234 050c 0001'],
  ['vxlan', vxlan, '0800 0000 0000 6400'],
]

const NO_ACCESSOR = /^(set|init|fill|decrement|read$|write$|check|walk$|pseudoHeader$|fragmentIdentification$)/

/** Names of the accessors f(view, at), by their shape. */
function accessorsOf(format: object): string[] {
  return Object.entries(format)
    .filter(([name, value]) => typeof value === 'function' && value.length === 2 && !NO_ACCESSOR.test(name))
    .map(([name]) => name)
}

/** The sample with bytes overwritten, cut or followed by others; or anything at all. */
function bytesLike(sample: Uint8Array): fc.Arbitrary<Uint8Array> {
  const mutated = fc
    .record({
      changes: fc.array(fc.tuple(fc.nat(sample.length - 1), fc.nat(255)), { maxLength: 4 }),
      length: fc.oneof(fc.constant(sample.length), fc.nat(sample.length)),
      tail: fc.uint8Array({ maxLength: 24 }),
    })
    .map(({ changes, length, tail }) => {
      const bytes = Uint8Array.of(...sample.subarray(0, length), ...tail)
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      return bytes
    })
  return fc.oneof({ weight: 4, arbitrary: mutated }, fc.uint8Array({ maxLength: 80 }))
}

describe.each(FORMATS)('%s', (_name, format, hex) => {
  const accessors = accessorsOf(format)
  const { check, read, write } = format as Format<object>
  const sample = fromHex(hex)

  test('the sample is well formed', () => {
    const { view, at, end } = place(sample)
    expect(check(view, at, end)).toBe(true)
    expect(accessors.length).toBeGreaterThan(1)
  })

  test('after check() no accessor fails, and write(read()) is the identity', () => {
    fc.assert(
      fc.property(bytesLike(sample), (bytes) => {
        const { view, at, end } = place(bytes)
        if (!check(view, at, end)) return
        for (const name of accessors) {
          const value = (format as Record<string, (view: DataView, at: number) => unknown>)[name]!(view, at)
          expect(typeof value === 'boolean' || Number.isInteger(value), name).toBe(true)
        }
        const before = toHex(new Uint8Array(view.buffer))
        expect(writtenAgain({ ...format, check, read, write } as Format<object>, view, at)).toBe(before)
      }),
      { numRuns: 500 },
    )
  })
})

test('ipv6.walk never fails after check(), and stays between the header and the end', () => {
  const sample = fromHex(FORMATS.find(([name]) => name === 'ipv6')![2])
  const out = ipv6.upperLayer()
  fc.assert(
    fc.property(bytesLike(sample), (bytes) => {
      const { view, at, end } = place(bytes)
      if (!ipv6.check(view, at, end)) return
      const packetEnd = at + ipv6.totalLength(view, at)
      if (!ipv6.walk(view, at, packetEnd, out)) return
      expect(out.offset).toBeGreaterThanOrEqual(at + ipv6.HEADER_LEN)
      expect(out.offset).toBeLessThanOrEqual(packetEnd)
      if (out.fragmentAt !== 0) expect(Number.isInteger(ipv6.fragmentIdentification(view, out.fragmentAt))).toBe(true)
    }),
    { numRuns: 2000 },
  )
})

test('SCTP and UDP: verifying never fails on what check() lets through', () => {
  for (const [format, hex] of [
    [sctp, FORMATS[6]![2]],
    [udp, FORMATS[5]![2]],
    [tcp, FORMATS[4]![2]],
  ] as const) {
    fc.assert(
      fc.property(bytesLike(fromHex(hex)), (bytes) => {
        const { view, at, end } = place(bytes)
        if (format.check(view, at, end)) expect(typeof format.verifyChecksum(view, at, end, 0)).toBe('boolean')
      }),
    )
  }
})
