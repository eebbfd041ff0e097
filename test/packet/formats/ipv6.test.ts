/** IPv6 headers as hex with their fields, both ways, and walks over chains of extension headers. */
import { describe, expect, test } from 'vitest'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex } from '../../support/hex.ts'

wellFormed(
  ipv6,
  `
  UDP from a captured packet, its payload cut away
    6000 0000 0000 113d 2604 1380 4091 ce00 0000 0000 0000 000b 2604 1380 4091 ce00 0000 0000 0000 000d
    trafficClass=0 flowLabel=0 payloadLength=0 totalLength=40 nextHeader=17 hopLimit=61
    srcAddr=2604:1380:4091:ce00::b dstAddr=2604:1380:4091:ce00::d

  traffic class and flow label
    6bb1 2345 0000 3aff fe80 0000 0000 0000 0000 0000 0000 0001 ff02 0000 0000 0000 0000 0000 0000 0002
    trafficClass=0xbb dscp=46 ecn=3 flowLabel=0x12345 nextHeader=58 hopLimit=255 srcAddr=fe80::1 dstAddr=ff02::2
  `,
)

const ADDRESSES = 'fd00 0000 0000 0000 0000 0000 0000 0001 fd00 0000 0000 0000 0000 0000 0000 0002'

broken(
  ipv6,
  `
  version 4: 4000 0000 0000 113d ${ADDRESSES}
  more payload than there is: 6000 0000 0002 113d ${ADDRESSES} 00
  `,
)

test('setters write their own field and no other', () => {
  const { view, at } = place(new Uint8Array(40).fill(0xee))
  ipv6.init(view, at)
  ipv6.setTrafficClass(view, at, 0xb8)
  ipv6.setEcn(view, at, 3)
  ipv6.setFlowLabel(view, at, 0xfedcb)
  ipv6.setPayloadLength(view, at, 1400)
  ipv6.setNextHeader(view, at, 6)
  ipv6.setHopLimit(view, at, 64)
  ipv6.decrementHopLimit(view, at)
  for (let i = 0; i < 4; i++) {
    ipv6.setSrcAddrWord(view, at, i, i - 7)
    ipv6.setDstAddrWord(view, at, i, i + 7)
  }
  expect(ipv6.read(view, at)).toEqual({
    trafficClass: 0xbb,
    flowLabel: 0xfedcb,
    payloadLength: 1400,
    nextHeader: 6,
    hopLimit: 63,
    srcAddr: [-7, -6, -5, -4],
    dstAddr: [7, 8, 9, 10],
  })
})

/** A packet with this next header and payload, and what walk() makes of it; offsets from the IPv6 header on. */
function walked(next: string, payload: string): string {
  const length = fromHex(payload).length.toString(16).padStart(4, '0')
  const { view, at, end } = place(fromHex(`6000 0000 ${length} ${next}40 ${ADDRESSES} ${payload}`))
  expect(ipv6.check(view, at, end)).toBe(true)
  const out = { protocol: -1, offset: -1, fragmentAt: -1, fragmentOffset: -1, moreFragments: true }
  if (!ipv6.walk(view, at, end, out)) return 'broken'
  const upper = `${out.protocol} at ${out.offset - at}`
  if (out.fragmentAt === 0) return upper
  const identification = ipv6.fragmentIdentification(view, out.fragmentAt)
  const fragment = `fragment ${identification} at ${out.fragmentAt - at}, offset ${out.fragmentOffset}`
  return `${upper}, ${fragment}${out.moreFragments ? ', more follow' : ''}`
}

describe('walk', () => {
  const cases = `
  TCP at once                              | 06 |                                              | 6 at 40
  nothing follows                          | 3b |                                              | 59 at 40
  ESP is opaque                            | 32 | 0000 0001 0000 0001                          | 50 at 40
  hop-by-hop (MLD)                         | 00 | 3a00 0502 0000 0100                          | 58 at 48
  destination options of 16 bytes          | 3c | 1101 0000 0000 0000 0000 0000 0000 0000      | 17 at 56
  hop-by-hop, destination, routing, UDP    | 00 | 3c00 0000 0000 0000 2b00 0000 0000 0000 1100 0400 ffff ffff | 17 at 64
  authentication header, 12 + 12 bytes     | 33 | 0604 0000 ${'0000 0000 '.repeat(5)}          | 6 at 64
  first fragment                           | 2c | 1100 0001 0000 002a 1234                     | 17 at 48, fragment 42 at 40, offset 0, more follow
  middle fragment: nothing behind is read  | 2c | 3c00 05a9 0000 002a                          | 60 at 48, fragment 42 at 40, offset 181, more follow
  last fragment                            | 2c | 1100 05a8 0000 002a                          | 17 at 48, fragment 42 at 40, offset 181
  atomic fragment, then options            | 2c | 3c00 0000 0000 002a 0600 0000 0000 0000      | 6 at 56, fragment 42 at 40, offset 0
  eight headers                            | 3c | ${'3c00 0000 0000 0000 '.repeat(7)} 0600 0000 0000 0000 | 6 at 104
  nine headers                             | 3c | ${'3c00 0000 0000 0000 '.repeat(8)} 0600 0000 0000 0000 | broken
  an extension header cut off              | 3c | 0600 0000 0000 00                            | broken
  one that tells more than there is        | 3c | 0601 0000 0000 0000                          | broken
  hop-by-hop in the second place           | 3c | 0000 0000 0000 0000 0600 0000 0000 0000      | broken
  a fragment header cut off                | 2c | 1100 0001                                    | broken
  two fragment headers                     | 2c | 2c00 0001 0000 002a 1100 0001 0000 002a      | broken
  routing with segments left               | 2b | 0600 0001 0000 0000                          | broken
  `
  for (const line of cases.trim().split('\n')) {
    const [name, next, payload, expected] = line.split('|').map((column) => column.trim()) as [
      string,
      string,
      string,
      string,
    ]
    test(name, () => expect(walked(next, payload)).toBe(expected))
  }
})
