/** polder/packet as somebody else would use it: by its package name, with nothing but what it exports. */

import {
  buildTables,
  DROP_REASONS,
  fromPod,
  indexOf,
  ipv4,
  kindOf,
  openTables,
  Packet,
  TO_POD,
  toPeer,
} from 'polder/packet'
import { expect, it } from 'vitest'
import { buildBytes } from '../support/build-packet.ts'

it('decides about a packet', () => {
  const tables = openTables(
    buildTables({
      pods: [
        { port: 1, addresses: ['10.0.0.1'] },
        { port: 2, addresses: ['10.0.0.2'] },
      ],
      peers: [],
      routes: [{ prefix: '10.9.0.0/16', verdict: toPeer(0) }],
      vtep: { vni: 1, mac: '02:00:00:00:00:01' },
      mtuBytes: 1450,
      gateways: ['10.0.0.254'],
      natAddresses: ['10.0.0.253'],
      copyDscp: false,
    }),
  )
  const bytes = buildBytes('udp 10.0.0.1:1 > 10.0.0.2:2 ttl 9')
  const packet = new Packet(new Uint8Array(2048))
  packet.bytes.set(bytes, 64)
  packet.set(64, bytes.length)
  const verdict = fromPod(packet, 1, tables)
  expect([kindOf(verdict), indexOf(verdict)]).toEqual([TO_POD, 2])
  expect(ipv4.ttl(packet.view, packet.at)).toBe(8)
  packet.set(64, 10)
  expect(DROP_REASONS[indexOf(fromPod(packet, 1, tables))]!.name).toBe('malformed-ip')
})
