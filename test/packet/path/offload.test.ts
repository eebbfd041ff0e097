/** What a kernel VXLAN peer leaves in its packets is found out, and only there. */
import { expect, it } from 'vitest'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { CHECKSUM_FULL, CHECKSUM_PARTIAL, GSO_NONE, GSO_TCPV4, GSO_TCPV6 } from '../../../packet/packet.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, MTU_BYTES, twoNodes } from '../../support/two-nodes.ts'

const kernel = twoNodes({ foreign: true })
const polder = twoNodes()

/** The same packet with the uncomplemented pseudo-header sum where its checksum was. */
function partial(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  const view = new DataView(copy.buffer)
  const v4 = copy[0]! >> 4 === 4
  const l4 = v4 ? 20 : 40
  const protocol = copy[v4 ? 9 : 6]!
  const sum = (v4 ? ipv4 : ipv6).pseudoHeader(view, 0, protocol, copy.length - l4)
  view.setUint16(l4 + (protocol === 6 ? 16 : 6), sum)
  return copy
}

const LINES = [
  'tcp 10.244.2.9:80 > 10.244.1.5:1000',
  'udp 10.244.2.9:80 > 10.244.1.5:1000',
  'tcp fd00:10:244:2::9.80 > fd00:10:244:1::5.1000',
  'udp fd00:10:244:2::9.80 > fd00:10:244:1::5.1000',
]

it.each(LINES)('%s: a partial checksum is told from a full one', (line) => {
  const full = buildBytes(`${line} payload 77`)
  for (const [bytes, expected] of [
    [full, CHECKSUM_FULL],
    [partial(full), CHECKSUM_PARTIAL],
  ] as const) {
    const packet = envelope(bytes)
    expect(describeVerdict(fromPeer(packet, 0, kernel))).toBe('pod 3')
    expect(packet.checksum).toBe(expected)
    expect(packet.gsoType).toBe(GSO_NONE)
  }
})

it('a packet larger than the MTU with a partial checksum is a TCP super-packet', () => {
  for (const [line, type, headers] of [
    [LINES[0]!, GSO_TCPV4, 40],
    [LINES[2]!, GSO_TCPV6, 60],
  ] as const) {
    const packet = envelope(partial(buildBytes(`${line} payload 20000`)))
    expect(describeVerdict(fromPeer(packet, 0, kernel))).toBe('pod 3')
    expect([packet.gsoType, packet.gsoSizeBytes]).toEqual([type, MTU_BYTES - headers])
  }
})

it('a polder is not suspected: what is too big is too big', () => {
  const bytes = partial(buildBytes(`${LINES[0]} payload 20000`))
  expect(describeVerdict(fromPeer(envelope(bytes), 0, polder))).toBe('too-big')
})

it('one full checksum in 65,535 that looks partial stays full', () => {
  // The sum over the transport header and payload is 0: found by trying.
  for (let seq = 0; seq < 70_000; seq++) {
    const bytes = buildBytes(`${LINES[0]} seq ${seq}`)
    const view = new DataView(bytes.buffer)
    if (view.getUint16(36) !== ipv4.pseudoHeader(view, 0, 6, bytes.length - 20)) continue
    const packet = envelope(bytes)
    fromPeer(packet, 0, kernel)
    expect(packet.checksum).toBe(CHECKSUM_FULL)
    return
  }
  throw new Error('none found')
})
