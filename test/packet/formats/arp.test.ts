/** ARP headers as hex with their fields, both ways, and those that check() must refuse. */
import { expect, test } from 'vitest'
import * as arp from '../../../packet/formats/arp.ts'
import { broken, place, wellFormed } from '../../support/header-cases.ts'
import { fromHex, toHex } from '../../support/hex.ts'

wellFormed(
  arp,
  `
  who has 192.168.203.3, tell 192.168.203.5
    0001 0800 0604 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03
    operation=1 senderHardwareAddr=00:30:88:01:00:02 senderProtocolAddr=192.168.203.5
    targetHardwareAddr=00:00:00:00:00:00 targetProtocolAddr=192.168.203.3

  192.168.203.3 is at 00:16:3e:37:f6:04
    0001 0800 0604 0002 0016 3e37 f604 c0a8 cb03 0030 8801 0002 c0a8 cb05
    operation=2 senderHardwareAddr=00:16:3e:37:f6:04 senderProtocolAddr=192.168.203.3
    targetHardwareAddr=00:30:88:01:00:02 targetProtocolAddr=192.168.203.5
  `,
)

broken(
  arp,
  `
  not Ethernet: 0006 0800 0604 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03
  not IPv4: 0001 86dd 0604 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03
  hardware addresses of 8 bytes: 0001 0800 0804 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03
  protocol addresses of 16 bytes: 0001 0800 0610 0001 0030 8801 0002 c0a8 cb05 0000 0000 0000 c0a8 cb03
  `,
)

test('init and the setters build a reply', () => {
  const { view, at } = place(new Uint8Array(28).fill(0xee))
  arp.init(view, at)
  arp.setOperation(view, at, arp.OPERATION_REPLY)
  arp.setSenderHardwareAddr(view, at, 0x0016, 0x3e37f604)
  arp.setSenderProtocolAddr(view, at, 0xc0a8cb03 | 0)
  arp.setTargetHardwareAddr(view, at, 0x0030, 0x88010002)
  arp.setTargetProtocolAddr(view, at, 0xc0a8cb05 | 0)
  expect(toHex(new Uint8Array(view.buffer, at))).toBe(
    toHex(fromHex('0001 0800 0604 0002 0016 3e37 f604 c0a8 cb03 0030 8801 0002 c0a8 cb05')),
  )
})
