/** SCTP headers as hex with their fields, both ways, CRC32c, and those that check() must refuse. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as sctp from '../../../packet/formats/sctp.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex } from '../../support/hex.ts'

wellFormed(
  sctp,
  `
  an INIT, its parameters cut away; the checksum's first byte is its lowest
    8045 9000 0000 0000 7856 3412 0100 0014
    srcPort=32837 dstPort=36864 verificationTag=0 checksum=0x12345678 chunkType=1 chunkFlags=0 chunkLength=20

  DATA
    0001 0002 dead beef 0000 0000 0003 ffff
    verificationTag=0xdeadbeef chunkType=0 chunkFlags=3 chunkLength=65535

  COOKIE ACK, a chunk without a value
    0001 0002 dead beef 0000 0000 0b00 0004
    chunkType=11 chunkLength=4
  `,
)

test('read() shows tag and checksum unsigned', () => {
  const { view, at } = place(fromHex('0001 0002 dead beef 0100 00ff 0000 0004'))
  expect(sctp.read(view, at)).toMatchObject({ verificationTag: 0xdeadbeef, checksum: 0xff000001 })
})

broken(
  sctp,
  `
  the common header alone: 8045 9000 0000 0000 7856 3412
  a chunk shorter than its header: 8045 9000 0000 0000 7856 3412 0100 0003
  `,
)

test('the checksum is CRC32c over the packet with the field as zero', () => {
  // CRC32c of 32 zero bytes, from RFC 3720 appendix B.4: aa 36 91 8a on the wire.
  const { view, at, end } = place(new Uint8Array(32))
  view.setUint32(at + 8, 0xeeeeeeee)
  sctp.fillChecksum(view, at, end)
  expect(view.getUint32(at + 8)).toBe(0xaa36918a)
  expect(sctp.verifyChecksum(view, at, end)).toBe(true)
  sctp.setSrcPort(view, at, 1)
  expect(sctp.verifyChecksum(view, at, end)).toBe(false)
  sctp.setDstPort(view, at, 2)
  sctp.fillChecksum(view, at, end)
  expect(sctp.verifyChecksum(view, at, end)).toBe(true)
  expect(sctp.read(view, at)).toMatchObject({ srcPort: 1, dstPort: 2 })
})

test('the checksum equals the polynomial division bit by bit', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 60 }), (bytes) => {
      const { view, at, end } = place(bytes)
      let crc = 0xffffffff
      bytes.forEach((byte, i) => {
        crc ^= i >= 8 && i < 12 ? 0 : byte
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
      })
      sctp.fillChecksum(view, at, end)
      expect(sctp.checksum(view, at)).toBe(~crc)
    }),
  )
})
