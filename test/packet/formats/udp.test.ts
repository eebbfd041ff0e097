/** UDP headers as hex with their fields, both ways; the zero checksum, and those that check() must refuse. */
import { describe, expect, test } from 'vitest'
import * as udp from '../../../packet/formats/udp.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex } from '../../support/hex.ts'

wellFormed(
  udp,
  `
  a DNS query's header, without a checksum
    c350 0035 0008 0000
    srcPort=50000 dstPort=53 length=8 checksum=0 hasChecksum=false

  with a payload and a checksum
    ebb9 12b5 000a 37fc 0102
    srcPort=60345 dstPort=4789 length=10 checksum=0x37fc hasChecksum=true
  `,
)

broken(
  udp,
  `
  a length below the header's: c350 0035 0007 0000
  a datagram longer than the packet: c350 0035 0009 0000
  `,
)

test('in a first fragment the datagram may end elsewhere, the header may not', () => {
  const { view, at, end } = place(fromHex('c350 0035 0fa8 0000'))
  expect(udp.checkFirstFragment(view, at, end)).toBe(true)
  expect(udp.checkFirstFragment(view, at, end - 1)).toBe(false)
  udp.setLength(view, at, 7)
  expect(udp.checkFirstFragment(view, at, end)).toBe(false)
})

describe('the zero checksum', () => {
  test('says that there is none, and the setters keep it so', () => {
    const { view, at, end } = place(fromHex('c350 0035 0008 0000'))
    udp.setSrcPort(view, at, 1)
    udp.setDstPort(view, at, 2)
    udp.adjustChecksum(view, at, 0x0a000001, 0x0a000002)
    expect(udp.read(view, at)).toEqual({ srcPort: 1, dstPort: 2, length: 8, checksum: 0 })
    // Over IPv6 there must be one: no pseudo-header makes this datagram right.
    expect(udp.verifyChecksum(view, at, end, 0xffff - (1 + 2 + 8))).toBe(false)
  })

  test('computed, is sent as 0xffff', () => {
    const { view, at, end } = place(fromHex('c350 0035 0008 0000'))
    const pseudoHeader = 0xffff - (0xc350 + 0x0035 + 8)
    udp.fillChecksum(view, at, end, pseudoHeader)
    expect(udp.checksum(view, at)).toBe(0xffff)
    expect(udp.verifyChecksum(view, at, end, pseudoHeader)).toBe(true)
  })

  test('reached by a change of port or address, is sent as 0xffff', () => {
    const { view, at, end } = place(fromHex('0001 0002 0008 0000'))
    const pseudoHeader = 0xff00
    udp.fillChecksum(view, at, end, pseudoHeader)
    udp.setSrcPort(view, at, 0xffff - (pseudoHeader + 2 + 8))
    expect(udp.checksum(view, at)).toBe(0xffff)
    expect(udp.verifyChecksum(view, at, end, pseudoHeader)).toBe(true)
    udp.adjustChecksum(view, at, 0x00010001, 0x00010001)
    expect(udp.checksum(view, at)).toBe(0xffff)
  })
})
