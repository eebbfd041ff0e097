/** Addresses as text: what is parsed the short way means what ipaddr.js says, and nothing else is accepted. */
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { expect, it } from 'vitest'
import { type AddressWords, formatAddress, parseAddress } from '../../packet/address.ts'

const part = fc.constantFrom('0', '1', '9', '10', '255', '256', '00', '01', 'ff', 'FFFF', '1ffff', 'g', '', ' ')
const text = fc
  .tuple(fc.array(part, { maxLength: 9 }), fc.constantFrom('.', ':'), fc.constantFrom('', ':', '::', '::1', '%1', '/8'))
  .map(([parts, separator, end]) => parts.join(separator) + end)

/** By ipaddr.js alone. */
function wordsOf(address: string): AddressWords | undefined {
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return undefined
  const parsed = ipaddr.parse(address)
  const v6 = parsed instanceof ipaddr.IPv4 ? parsed.toIPv4MappedAddress() : (parsed as ipaddr.IPv6)
  const { parts } = v6
  return [0, 2, 4, 6].map((i) => (parts[i]! << 16) | parts[i + 1]!) as unknown as AddressWords
}

it('every text that is an address is parsed as ipaddr.js does, and every other one refused', () => {
  const one = fc.oneof(text, fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 12 }))
  fc.assert(
    fc.property(one, (address) => {
      const expected = wordsOf(address)
      if (expected === undefined) expect(() => parseAddress(address)).toThrow()
      else expect(parseAddress(address)).toEqual(expected)
    }),
    {
      numRuns: 5000,
      examples: [['::'], ['::1'], ['1::'], ['1:2:3:4:5:6:7::'], ['::ffff:10.0.0.1'], ['1:2:3:4:5:6:7:8']],
    },
  )
})

it('what is formatted is parsed again as it was', () => {
  const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), (words) => {
      expect(parseAddress(formatAddress(words))).toEqual(words)
    }),
  )
})
