/** ICMPv6 messages as hex with their fields, both ways, and those that check() must refuse. */
import { expect, test } from 'vitest'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'

wellFormed(
  icmpv6,
  `
  an echo request
    8000 1234 050c 0001
    type=128 code=0 checksum=0x1234 identifier=1292 sequenceNumber=1 isEcho=true isError=false

  packet too big
    0200 1234 0000 05aa
    type=2 code=0 mtu=1450 isEcho=false isError=true

  a router solicitation
    8500 1234 0000 0000
    type=133 isEcho=false isError=false
  `,
)

broken(
  icmpv6,
  `
  the general header alone: 8000 1234
  `,
)

test('init, setters and fillChecksum build an error; setters and adjustChecksum keep the checksum right', () => {
  const { view, at, end } = place(new Uint8Array(37).fill(0xee))
  icmpv6.init(view, at)
  icmpv6.setType(view, at, icmpv6.TYPE_PACKET_TOO_BIG)
  icmpv6.setCode(view, at, 0)
  icmpv6.setMtu(view, at, 1450)
  icmpv6.fillChecksum(view, at, end, 0x1234)
  expect(icmpv6.verifyChecksum(view, at, end, 0x1234)).toBe(true)
  expect(icmpv6.mtu(view, at)).toBe(1450)
  icmpv6.setType(view, at, icmpv6.TYPE_ECHO_REQUEST)
  icmpv6.setCode(view, at, 3)
  icmpv6.setMtu(view, at, 70000)
  icmpv6.setIdentifier(view, at, 0xbeef)
  icmpv6.setSequenceNumber(view, at, 77)
  expect(icmpv6.verifyChecksum(view, at, end, 0x1234)).toBe(true)
  expect(icmpv6.read(view, at)).toMatchObject({ type: 128, code: 3, identifier: 0xbeef, sequenceNumber: 77 })
  // An address word that was 0x00000034 is now 0x00010033: the pseudo-header's sum stays 0x1234.
  icmpv6.adjustChecksum(view, at, 0x34, 0x00010033)
  expect(icmpv6.verifyChecksum(view, at, end, 0x1234)).toBe(true)
  icmpv6.adjustChecksum(view, at, 0, 5)
  expect(icmpv6.verifyChecksum(view, at, end, 0x1239)).toBe(true)
})
