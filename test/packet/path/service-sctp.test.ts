/**
 * SCTP through a Service, as node 1 of two-nodes.ts decides it: addresses and ports are translated both ways, the CRC32c
 * (RFC 9260, 6.8) is right where it was right, and stays wrong where it was wrong. This kernel may have no SCTP sockets, so
 * it is tested with packets alone.
 *
 *   10.96.0.14:36412, fd00:10:96::14:36412   one pod on node 2, at port 5000; from outside 192.0.2.1:30412
 */
import { beforeEach, describe, expect, it } from 'vitest'
import { formatAddress } from '../../../packet/address.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import { PROTOCOL_SCTP } from '../../../packet/formats/protocols.ts'
import * as sctp from '../../../packet/formats/sctp.ts'
import { Packet } from '../../../packet/packet.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { parse } from '../../../packet/path/parse.ts'
import type { ServicePort } from '../../../packet/tables/service-port.ts'
import { openTables, type Tables } from '../../../packet/tables/tables.ts'
import { buildBytes, packetOf } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, POD_A, twoNodesBuffers } from '../../support/two-nodes.ts'

const TAG = 0x1234

const port = (identity: number, address: string, more: ServicePort['frontends'], endpoint: string): ServicePort => ({
  identity,
  protocol: PROTOCOL_SCTP,
  frontends: [{ address, port: 36412 }, ...more],
  endpoints: [{ address: endpoint, port: 5000, identity: identity * 10 }],
  usable: 1,
  inside: [0],
  outside: [0],
  affinitySeconds: 0,
  sourceRanges: [],
})

let tables: Tables

beforeEach(() => {
  tables = openTables(
    twoNodesBuffers([
      port(1, '10.96.0.14', [{ address: '192.0.2.1', port: 30412 }], '10.244.2.9'),
      port(2, 'fd00:10:96::14', [], 'fd00:10:244:2::9'),
    ]),
    undefined,
  )
  tables.flows.tick(1_000_000)
})

/** One chunk of `type`, 12 bytes of it; `line` names addresses and ports as of a UDP packet with 16 bytes of payload. */
function packetWith(line: string, type: number, isRight = true): Uint8Array {
  const bytes = buildBytes(`udp ${line} payload 16`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const isV4 = view.getUint8(0) >> 4 === 4
  view.setUint8(isV4 ? 9 : 6, PROTOCOL_SCTP)
  if (isV4) ipv4.fillChecksum(view, 0)
  const l4 = isV4 ? 20 : 40
  view.setInt32(l4 + 4, type === sctp.CHUNK_INIT ? 0 : TAG)
  view.setUint8(l4 + 12, type)
  view.setUint8(l4 + 13, 0)
  view.setUint16(l4 + 14, 12)
  sctp.fillChecksum(view, l4, bytes.length)
  if (!isRight) view.setUint8(bytes.length - 1, view.getUint8(bytes.length - 1) ^ 1)
  return bytes
}

/** `peer 0: 10.244.1.5:1000 > 10.244.2.9:5000, right` */
function enter(entrance: 'pod' | 'peer' | 'host', bytes: Uint8Array): string {
  const packet = entrance === 'peer' ? envelope(bytes) : packetOf(bytes)
  const decide = {
    pod: () => fromPod(packet, POD_A, tables),
    peer: () => fromPeer(packet, 0, tables),
    host: () => fromHost(packet, tables),
  }
  const where = describeVerdict(decide[entrance]())
  const copy = new Packet(packet.bytes)
  copy.set(packet.at, packet.end - packet.at)
  expect(parse(copy)).toBe(0)
  const src = formatAddress([copy.src0, copy.src1, copy.src2, copy.src3])
  const dst = formatAddress([copy.dst0, copy.dst1, copy.dst2, copy.dst3])
  const checksum = sctp.verifyChecksum(copy.view, copy.l4, copy.end) ? 'right' : 'wrong'
  return `${where}: ${src} ${copy.ports >>> 16} > ${dst} ${copy.ports & 0xffff}, ${checksum}`
}

describe.each([
  ['IPv4', '10.244.1.5', '10.96.0.14', '10.244.2.9', ':'],
  ['IPv6', 'fd00:10:244:1::5', 'fd00:10:96::14', 'fd00:10:244:2::9', '.'],
])('SCTP to a ClusterIP (%s)', (_, client, service, server, sep) => {
  const there = `${client}${sep}1000 > ${service}${sep}36412`
  const back = `${server}${sep}5000 > ${client}${sep}1000`

  it('is translated there and back, checksums right', () => {
    for (const [to, from] of [
      [sctp.CHUNK_INIT, sctp.CHUNK_INIT_ACK],
      [sctp.CHUNK_COOKIE_ECHO, sctp.CHUNK_COOKIE_ACK],
    ] as const) {
      expect(enter('pod', packetWith(there, to))).toBe(`peer 0: ${client} 1000 > ${server} 5000, right`)
      expect(enter('peer', packetWith(back, from))).toBe(`pod 3: ${service} 36412 > ${client} 1000, right`)
    }
  })

  it('with a wrong checksum is carried with a wrong one', () => {
    expect(enter('pod', packetWith(there, sctp.CHUNK_INIT))).toContain('right')
    expect(enter('pod', packetWith(there, sctp.CHUNK_DATA, false))).toBe(
      `peer 0: ${client} 1000 > ${server} 5000, wrong`,
    )
  })
})

it('SCTP to a node port keeps the address of the client, and is answered through this node', () => {
  expect(enter('host', packetWith('198.51.100.7:1000 > 192.0.2.1:30412', sctp.CHUNK_INIT))).toBe(
    'peer 0: 198.51.100.7 1000 > 10.244.2.9 5000, right',
  )
  expect(enter('peer', packetWith('10.244.2.9:5000 > 198.51.100.7:1000', sctp.CHUNK_INIT_ACK))).toMatch(
    /: 192\.0\.2\.1 30412 > 198\.51\.100\.7 1000, right$/,
  )
})
