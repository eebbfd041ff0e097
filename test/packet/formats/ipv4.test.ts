/** IPv4 headers as hex with their fields, both ways; options, fragments, TTL, and those that check() must refuse. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import { PROTOCOL_UDP } from '../../../packet/formats/protocols.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex } from '../../support/hex.ts'

wellFormed(
  ipv4,
  `
  an echo request, its payload cut away
    4500 0014 0000 4000 4001 238f c0a8 cb03 c0a8 cb05
    headerLength=20 typeOfService=0 dscp=0 ecn=0 totalLength=20 identification=0 flags=2 dontFragment=true
    moreFragments=false fragmentOffset=0 isFragment=false ttl=64 protocol=1 headerChecksum=0x238f
    srcAddr=192.168.203.3 dstAddr=192.168.203.5 options=hex:

  expedited forwarding, congestion experienced
    45bb 0014 1234 0000 0111 0000 0a00 0001 ffff ffff
    typeOfService=0xbb dscp=46 ecn=3 identification=0x1234 flags=0 dontFragment=false ttl=1 protocol=17
    srcAddr=10.0.0.1 dstAddr=255.255.255.255

  a first fragment
    4500 0014 0001 2000 4011 0000 0a00 0001 0a00 0002
    isFragment=true moreFragments=true fragmentOffset=0

  a last fragment
    4500 0014 0001 00b9 4011 0000 0a00 0001 0a00 0002
    isFragment=true moreFragments=false fragmentOffset=185

  the reserved flag survives
    4500 0014 0001 8000 4011 0000 0a00 0001 0a00 0002
    flags=4 isFragment=false

  a router alert option
    4600 0018 0000 0000 0102 0000 0a00 0001 e000 0016 9404 0000
    headerLength=24 protocol=2 options=hex:94040000
  `,
)

broken(
  ipv4,
  `
  version 6: 6500 0014 0000 4000 4001 238f c0a8 cb03 c0a8 cb05
  a header shorter than 20 bytes: 4400 0014 0000 4000 4001 238f c0a8 cb03 c0a8 cb05
  a header longer than the packet: 4600 0014 0000 4000 4001 238f c0a8 cb03 c0a8 cb05 0000 0000
  more than there is: 4500 0015 0000 4000 4001 238f c0a8 cb03 c0a8 cb05
  a total length shorter than the header: 4500 0013 0000 4000 4001 238f c0a8 cb03 c0a8 cb05
  `,
)

test('bytes behind the packet are allowed', () => {
  const { view, at, end } = place(fromHex('4500 0014 0000 4000 4001 238f c0a8 cb03 c0a8 cb05 0000 0000'))
  expect(ipv4.check(view, at, end)).toBe(true)
})

describe('header checksum', () => {
  test('of a captured header is right, and wrong after any one bit flips', () => {
    const { view, at } = place(fromHex('4500 0054 0000 4000 4001 234f c0a8 cb03 c0a8 cb05'))
    expect(ipv4.verifyChecksum(view, at)).toBe(true)
    // The first byte says how much is summed: a flip there is check()'s.
    for (let bit = 8; bit < 160; bit++) {
      const byte = at + (bit >> 3)
      view.setUint8(byte, view.getUint8(byte) ^ (1 << (bit & 7)))
      expect(ipv4.verifyChecksum(view, at)).toBe(false)
      view.setUint8(byte, view.getUint8(byte) ^ (1 << (bit & 7)))
    }
  })

  test('decrementTtl on a captured header', () => {
    const { view, at } = place(fromHex('4500 0054 0000 4000 4001 234f c0a8 cb03 c0a8 cb05'))
    ipv4.decrementTtl(view, at)
    expect(ipv4.ttl(view, at)).toBe(63)
    expect(ipv4.headerChecksum(view, at)).toBe(0x244f)
  })

  test('stays what a full sum gives, whatever the setters write', () => {
    const half = fc.nat(0xffff)
    const word = fc.integer()
    const change = fc.oneof(
      fc.tuple(fc.constant(ipv4.setTypeOfService), fc.nat(255)),
      fc.tuple(fc.constant(ipv4.setEcn), fc.nat(3)),
      fc.tuple(fc.constant(ipv4.setTotalLength), half),
      fc.tuple(fc.constant(ipv4.setIdentification), half),
      fc.tuple(fc.constant(ipv4.setFlags), fc.nat(7)),
      fc.tuple(fc.constant(ipv4.setFragmentOffset), fc.nat(0x1fff)),
      fc.tuple(fc.constant(ipv4.setTtl), fc.nat(255)),
      fc.tuple(fc.constant(ipv4.setProtocol), fc.nat(255)),
      fc.tuple(fc.constant(ipv4.setSrcAddr), word),
      fc.tuple(fc.constant(ipv4.setDstAddr), word),
    )
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        const { view, at } = place(new Uint8Array(20).fill(0xee))
        ipv4.init(view, at)
        for (const [set, value] of changes) set(view, at, value)
        const incremental = ipv4.headerChecksum(view, at)
        expect(ipv4.verifyChecksum(view, at)).toBe(true)
        ipv4.fillChecksum(view, at)
        expect(incremental).toBe(ipv4.headerChecksum(view, at))
      }),
    )
  })
})

test('setters write their own field and no other', () => {
  const { view, at } = place(new Uint8Array(20))
  ipv4.init(view, at)
  ipv4.setTypeOfService(view, at, 0xb8)
  ipv4.setEcn(view, at, 1)
  ipv4.setTotalLength(view, at, 1500)
  ipv4.setIdentification(view, at, 0xbeef)
  ipv4.setFlags(view, at, ipv4.FLAG_DONT_FRAGMENT)
  ipv4.setFragmentOffset(view, at, 0x1abc)
  ipv4.setTtl(view, at, 64)
  ipv4.setProtocol(view, at, PROTOCOL_UDP)
  ipv4.setSrcAddr(view, at, 0x0a000001)
  ipv4.setDstAddr(view, at, 0xc0a80001 | 0)
  expect(ipv4.read(view, at)).toEqual({
    dscp: 46,
    ecn: 1,
    totalLength: 1500,
    identification: 0xbeef,
    flags: 2,
    fragmentOffset: 0x1abc,
    ttl: 64,
    protocol: 17,
    headerChecksum: ipv4.headerChecksum(view, at),
    srcAddr: 0x0a000001,
    dstAddr: 0xc0a80001 | 0,
    options: new Uint8Array(0),
  })
})
