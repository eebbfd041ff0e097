/** TCP headers as hex with their fields, both ways, and those that check() must refuse. */
import { expect, test } from 'vitest'
import * as tcp from '../../../packet/formats/tcp.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex } from '../../support/hex.ts'

wellFormed(
  tcp,
  `
  a captured segment with timestamps
    90eb a24b 72c5 d578 9bd3 a673 8018 00a6 9ec8 0000 0101 080a dd7e 04af 35a5 fd46
    srcPort=37099 dstPort=41547 sequenceNumber=1925567864 acknowledgmentNumber=2614339187 headerLength=32 reserved=0
    flags=0x18 window=166 checksum=0x9ec8 urgentPointer=0 options=hex:0101080add7e04af35a5fd46

  no options, every flag, reserved bits
    0001 ffff ffff ffff 0000 0000 5fff ffff 1234 abcd
    headerLength=20 reserved=15 flags=0xff window=65535 urgentPointer=0xabcd options=hex:
  `,
)

broken(
  tcp,
  `
  a header shorter than 20 bytes: 0001 ffff ffff ffff 0000 0000 4000 ffff 1234 abcd
  a header longer than the segment: 0001 ffff ffff ffff 0000 0000 6000 ffff 1234 abcd
  `,
)

test('init, setters and fillChecksum build a reset', () => {
  const { view, at, end } = place(new Uint8Array(20).fill(0xee))
  const pseudoHeader = 0x1234
  tcp.init(view, at)
  tcp.setSrcPort(view, at, 80)
  tcp.setDstPort(view, at, 50000)
  tcp.setSequenceNumber(view, at, -2)
  tcp.setAcknowledgmentNumber(view, at, 0x01020304)
  tcp.setFlags(view, at, tcp.FLAG_RST | tcp.FLAG_ACK)
  tcp.setWindow(view, at, 512)
  tcp.fillChecksum(view, at, end, pseudoHeader)
  expect(tcp.check(view, at, end)).toBe(true)
  expect(tcp.verifyChecksum(view, at, end, pseudoHeader)).toBe(true)
  expect(tcp.read(view, at)).toMatchObject({
    srcPort: 80,
    dstPort: 50000,
    sequenceNumber: 0xfffffffe,
    acknowledgmentNumber: 0x01020304,
    reserved: 0,
    flags: 0x14,
    window: 512,
    urgentPointer: 0,
    options: fromHex(''),
  })
})
