/** ICMP messages as hex with their fields, both ways, and those that check() must refuse. */
import { expect, test } from 'vitest'
import * as icmp from '../../../packet/formats/icmp.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'

wellFormed(
  icmp,
  `
  a captured echo request
    0800 f6f2 050c 0001
    type=8 code=0 checksum=0xf6f2 identifier=1292 sequenceNumber=1 isEcho=true isError=false

  an echo reply
    0000 fef2 050c 0001
    type=0 isEcho=true isError=false

  fragmentation needed
    0304 f6f2 0000 05aa
    type=3 code=4 nextHopMtu=1450 isEcho=false isError=true

  time exceeded
    0b00 f4ff 0000 0000
    type=11 code=0 isEcho=false isError=true

  a redirect
    0501 faf6 0a00 0001
    type=5 code=1 isError=true

  a timestamp request is neither
    0d00 f2ff 0000 0000
    isEcho=false isError=false
  `,
)

broken(
  icmp,
  `
  a byte short: 0800 f6f2 050c 00
  `,
)

test('init, setters and fillChecksum build an error; setters keep the checksum right', () => {
  const { view, at, end } = place(new Uint8Array(37).fill(0xee))
  icmp.init(view, at)
  icmp.setType(view, at, icmp.TYPE_DESTINATION_UNREACHABLE)
  icmp.setCode(view, at, icmp.CODE_FRAGMENTATION_NEEDED)
  icmp.setNextHopMtu(view, at, 1450)
  icmp.fillChecksum(view, at, end)
  expect(icmp.verifyChecksum(view, at, end)).toBe(true)
  expect(icmp.read(view, at)).toMatchObject({ type: 3, code: 4, identifier: 0, sequenceNumber: 1450 })
  icmp.setNextHopMtu(view, at, 1280)
  icmp.setType(view, at, icmp.TYPE_ECHO_REPLY)
  icmp.setCode(view, at, 0)
  icmp.setIdentifier(view, at, 0xbeef)
  icmp.setSequenceNumber(view, at, 77)
  expect(icmp.verifyChecksum(view, at, end)).toBe(true)
  expect(icmp.read(view, at)).toMatchObject({ type: 0, code: 0, identifier: 0xbeef, sequenceNumber: 77 })
})
