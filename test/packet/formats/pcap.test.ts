/** The reader that the captures' tests stand on: both byte orders, both units of time, and files that are broken. */
import { describe, expect, test } from 'vitest'
import { parsePcap } from '../../support/pcap.ts'

function pcap(magic: number, little: boolean, fraction: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(24 + 16 + 3))
  view.setUint32(0, magic, little)
  view.setUint32(20, 1, little)
  view.setUint32(24, 1_700_000_000, little)
  view.setUint32(28, fraction, little)
  view.setUint32(32, 3, little)
  view.setUint32(36, 60, little)
  view.setUint8(40, 7)
  return new Uint8Array(view.buffer)
}

describe.each([true, false])('little endian: %s', (little) => {
  test.each([
    [0xa1b2c3d4, 250_000],
    [0xa1b23c4d, 250_000_000],
  ])('magic %i', (magic, fraction) => {
    const packets = parsePcap(pcap(magic, little, fraction))
    expect(packets).toEqual([{ timestamp: 1_700_000_000.25, linktype: 1, bytes: Uint8Array.of(7, 0, 0) }])
  })
})

test('refuses what it cannot read', () => {
  const file = pcap(0xa1b2c3d4, true, 0)
  expect(() => parsePcap(file.subarray(0, 20))).toThrow('too short')
  expect(() => parsePcap(file.subarray(0, 42))).toThrow('ends in the middle of packet 1')
  expect(() => parsePcap(file.subarray(0, 30))).toThrow('ends in the middle of packet 1')
  expect(() => parsePcap(Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a, ...new Uint8Array(20)))).toThrow('no classic pcap')
})
