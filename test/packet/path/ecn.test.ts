/** Congestion marks across the tunnel: RFC 6040's figure 4, row by row. */
import { expect, it } from 'vitest'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { outerTosOf } from '../../../packet/path/ecn.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { buildBytes, buildPacket } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, POD_A, twoNodes } from '../../support/two-nodes.ts'

const tables = twoNodes()
const NAMES = ['not-ect', 'ect1', 'ect0', 'ce']

/** [inner, outer, what the pod gets] */
it.each([
  ['not-ect', 'not-ect', 'not-ect'],
  ['not-ect', 'ect0', 'not-ect'],
  ['not-ect', 'ect1', 'not-ect'],
  ['not-ect', 'ce', 'congestion'],
  ['ect0', 'not-ect', 'ect0'],
  ['ect0', 'ect0', 'ect0'],
  ['ect0', 'ect1', 'ect1'],
  ['ect0', 'ce', 'ce'],
  ['ect1', 'not-ect', 'ect1'],
  ['ect1', 'ect0', 'ect1'],
  ['ect1', 'ect1', 'ect1'],
  ['ect1', 'ce', 'ce'],
  ['ce', 'not-ect', 'ce'],
  ['ce', 'ect0', 'ce'],
  ['ce', 'ect1', 'ce'],
  ['ce', 'ce', 'ce'],
])('inner %s, outer %s: %s', (inner, outer, expected) => {
  for (const line of ['udp 10.244.2.9:1 > 10.244.1.5:2', 'udp fd00:10:244:2::9.1 > fd00:10:244:1::5.2']) {
    const packet = envelope(buildBytes(`${line} ecn ${NAMES.indexOf(inner)}`))
    packet.outerTos = NAMES.indexOf(outer)
    const verdict = describeVerdict(fromPeer(packet, 0, tables))
    if (expected === 'congestion') {
      expect(verdict).toBe('congestion')
      continue
    }
    expect(verdict).toBe('pod 3')
    const { view, at, family } = packet
    expect(NAMES[family === 4 ? ipv4.ecn(view, at) : ipv6.ecn(view, at)]).toBe(expected)
    if (family === 4) expect(ipv4.verifyChecksum(view, at)).toBe(true)
  }
})

it('a packet takes its mark with it, its DSCP only where that is wanted', () => {
  const packet = buildPacket('udp 10.244.1.5:1 > 10.244.2.9:2 ecn 2')
  fromPod(packet, POD_A, tables)
  expect(packet.outerTos).toBe(2)
  expect(outerTosOf((46 << 2) | 1, false)).toBe(1)
  expect(outerTosOf((46 << 2) | 1, true)).toBe((46 << 2) | 1)
})
