/** Every table against a naive model that a child could check: lists that are searched from one end to the other. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type AddressWords, formatAddress, maskWords, parseAddress, parsePrefix } from '../../../packet/address.ts'
import { AddressMap } from '../../../packet/tables/address-map.ts'
import { PeerTable } from '../../../packet/tables/peers.ts'
import { PodTable } from '../../../packet/tables/pods.ts'
import { RouteTable } from '../../../packet/tables/routes.ts'

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
/** Few distinct words, so that keys share words, collide and meet again in lookups. */
const closeWord = fc.constantFrom(0, 1, -1, 0xffff, 0x0af40101, 0x0af40102, -2147483648)
const words = fc.tuple(closeWord, closeWord, fc.oneof(closeWord, word), fc.oneof(closeWord, word))
const ipv4 = fc.tuple(fc.constantFrom(10, 172), fc.nat(3), fc.nat(3), fc.nat(255)).map((bytes) => bytes.join('.'))
const ipv6 = fc
  .tuple(fc.constantFrom('fd00', '2001'), fc.nat(3), fc.nat(3), fc.nat(255))
  .map(([a, b, c, d]) => `${a}:${b}:${c}::${d.toString(16)}`)
const address = fc.oneof(ipv4, ipv6)
const prefix = fc.oneof(
  fc.tuple(ipv4, fc.nat(32)).map(([base, length]) => `${base}/${length}`),
  fc.tuple(ipv6, fc.nat(128)).map(([base, length]) => `${base}/${length}`),
)

it('an address map answers as a list does in which the last entry wins', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ words, value: fc.nat() })), fc.array(words), (entries, others) => {
      const map = AddressMap.of(entries)
      for (const key of [...entries.map((entry) => entry.words), ...others]) {
        const expected = entries.findLast((entry) => entry.words.join() === key.join())?.value ?? -1
        expect(map.lookup(...key)).toBe(expected)
      }
      expect(map.size).toBe(new Set(entries.map((entry) => entry.words.join())).size)
    }),
  )
})

it('a route is the longest prefix that holds the address, whatever the order', () => {
  const holds = (text: string, key: AddressWords): boolean => {
    const { words: base, length } = parsePrefix(text)
    const mask = maskWords(length)
    return key.every((w, i) => (w & mask[i]!) === base[i])
  }
  fc.assert(
    fc.property(fc.uniqueArray(prefix, { selector: canonical }), fc.array(address), (prefixes, addresses) => {
      const table = new RouteTable(RouteTable.build(prefixes.map((text, verdict) => ({ prefix: text, verdict }))))
      for (const text of [...addresses, ...prefixes.map((p) => p.split('/')[0]!)]) {
        const key = parseAddress(text)
        const matching = prefixes.filter((p) => holds(p, key))
        const longest = matching.toSorted((a, b) => parsePrefix(b).length - parsePrefix(a).length)[0]
        expect(table.lookup(...key)).toBe(longest === undefined ? -1 : prefixes.indexOf(longest))
      }
    }),
  )
})

it('a pod is found by each of its addresses and by no other', () => {
  fc.assert(
    fc.property(fc.uniqueArray(address, { selector: canonical }), fc.array(address), (addresses, others) => {
      const pods = addresses.map((own, i) => ({ port: i + 3, addresses: [own] }))
      const table = new PodTable(PodTable.build(pods))
      for (const text of [...addresses, ...others]) {
        const expected = addresses.findIndex((own) => canonical(own) === canonical(text))
        expect(table.lookup(...parseAddress(text))).toBe(expected === -1 ? -1 : expected + 3)
      }
    }),
  )
})

it('a peer is found by its underlay address and has what it was given', () => {
  const peer = fc.record({ underlayAddress: address, mtuBytes: fc.integer({ min: 1280, max: 9000 }) })
  fc.assert(
    fc.property(fc.uniqueArray(peer, { selector: ({ underlayAddress }) => canonical(underlayAddress) }), (peers) => {
      const entries = peers.map((one) => ({ ...one, port: 4789, vtepMac: '02:00:00:00:00:01', foreign: false }))
      const table = new PeerTable(PeerTable.build(entries, { vni: 7, mac: '02:00:00:00:00:02' }))
      expect(table.size).toBe(peers.length)
      for (const [index, { underlayAddress, mtuBytes }] of peers.entries()) {
        expect(table.lookup(...parseAddress(underlayAddress))).toBe(index)
        expect(table.mtuBytes(index)).toBe(mtuBytes)
        expect(canonical(table.address(index))).toBe(canonical(underlayAddress))
        expect([...table.endpoints().subarray(index * 5, index * 5 + 5)]).toEqual([
          ...parseAddress(underlayAddress),
          4789,
        ])
      }
      expect(table.lookup(1, 2, 3, 4)).toBe(-1)
    }),
  )
})

it('addresses survive the way to words and back', () => {
  fc.assert(
    fc.property(address, (text) => {
      expect(parseAddress(canonical(text))).toEqual(parseAddress(text))
    }),
  )
  expect(formatAddress(parseAddress('10.244.1.5'))).toBe('10.244.1.5')
  expect(formatAddress(parseAddress('fd00:10:244:0001::5'))).toBe('fd00:10:244:1::5')
})

it('what is no address or prefix is refused', () => {
  for (const text of ['', '10.0.0', '10.0.0.256', 'fd00::g', '::/129', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/x']) {
    expect(() => parsePrefix(text)).toThrow()
  }
})

function canonical(text: string): string {
  const [base, length] = text.split('/')
  return length === undefined ? formatAddress(parseAddress(base!)) : JSON.stringify(parsePrefix(text))
}
