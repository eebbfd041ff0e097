/** Ethernet headers as hex with their fields, both ways, and those that check() must refuse. */
import { describe, expect, test } from 'vitest'
import * as ethernet from '../../../packet/formats/ethernet.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex, toHex } from '../../support/hex.ts'

wellFormed(
  ethernet,
  `
  IPv4 between two hosts
    0016 3e08 71cf 36dc 851e b340 0800
    dstAddr=00:16:3e:08:71:cf srcAddr=36:dc:85:1e:b3:40 etherType=0x0800 isToGroup=false
    dstAddrHigh=0x0016 dstAddrLow=0x3e0871cf srcAddrHigh=0x36dc srcAddrLow=0x851eb340

  ARP to all
    ffff ffff ffff 0030 8801 0002 0806
    dstAddr=ff:ff:ff:ff:ff:ff srcAddr=00:30:88:01:00:02 etherType=0x0806 isToGroup=true

  IPv6 to a multicast group
    3333 0000 0001 0030 8801 0002 86dd
    dstAddr=33:33:00:00:00:01 etherType=0x86dd isToGroup=true

  IPv4 to a multicast group: the bit is in the first byte
    0100 5e00 0001 0030 8801 0002 0800
    isToGroup=true

  and nowhere else
    0001 0101 0101 0030 8801 0002 0800
    isToGroup=false
  `,
)

broken(
  ethernet,
  `
  empty:
  a byte short: 0016 3e08 71cf 36dc 851e b340 08
  a length in place of the ethertype: 0180 c200 0000 0030 8801 0002 0026
  `,
)

describe('setters', () => {
  test('write addresses and ethertype', () => {
    const { view, at } = place(new Uint8Array(14))
    ethernet.setDstAddr(view, at, 0x0016, 0x3e0871cf)
    ethernet.setSrcAddr(view, at, 0x36dc, 0x851eb340)
    ethernet.setEtherType(view, at, ethernet.ETHERTYPE_IPV6)
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(fromHex('0016 3e08 71cf 36dc 851e b340 86dd')))
  })
})
