/** VXLAN headers as hex with their fields, both ways, and those that check() must refuse. */
import { expect, test } from 'vitest'
import * as vxlan from '../../../packet/formats/vxlan.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { toHex } from '../../support/hex.ts'

wellFormed(
  vxlan,
  `
  VNI 100
    0800 0000 0000 6400
    flags=8 vni=100 reserved1=0 reserved2=0

  the highest VNI
    0800 0000 ffff ff00
    vni=16777215

  reserved bits, which a receiver ignores
    ff12 3456 8000 01aa
    flags=0xff vni=0x800001 reserved1=0x123456 reserved2=0xaa
  `,
)

broken(
  vxlan,
  `
  a byte short: 0800 0000 0000 64
  no valid VNI: f700 0000 0000 6400
  `,
)

test('init writes the whole header', () => {
  const { view, at } = place(new Uint8Array(8).fill(0xee))
  vxlan.init(view, at, 0xabcdef)
  expect(toHex(new Uint8Array(view.buffer, at))).toBe('08000000abcdef00')
})
