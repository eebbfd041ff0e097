/**
 * What address translation does to transport checksums: any chain of changed addresses and ports leaves the bits that
 * summing anew gives, whether the checksum is full, partial or absent, and the way back restores the packet.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../../../packet/formats/protocols.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import { toHex, viewOf } from '../../support/hex.ts'

interface Packet {
  view: DataView
  l4: number
  end: number
  pseudoHeader(): number
}

const IP_AT = 1

function packetOf(family: 4 | 6, protocol: number, headerLen: number, payload: Uint8Array): Packet {
  const ip = family === 4 ? ipv4 : ipv6
  const l4 = IP_AT + ip.HEADER_LEN
  const end = l4 + headerLen + payload.length
  const view = viewOf(new Uint8Array(end))
  ip.init(view, IP_AT)
  if (family === 4) ipv4.setProtocol(view, IP_AT, protocol)
  new Uint8Array(view.buffer).set(payload, l4 + headerLen)
  return { view, l4, end, pseudoHeader: () => ip.pseudoHeader(view, IP_AT, protocol, end - l4) }
}

interface Change {
  what: 'address' | 'srcPort' | 'dstPort'
  index: number
  value: number
}

const changes = fc.array(
  fc.record({
    what: fc.constantFrom('address', 'srcPort', 'dstPort'),
    index: fc.nat(7),
    value: fc.oneof(fc.integer(), fc.constantFrom(0, -1, 0xffff)),
  }) as fc.Arbitrary<Change>,
  { minLength: 1, maxLength: 12 },
)
const payload = fc.uint8Array({ maxLength: 41 })
const family = fc.constantFrom(4 as const, 6 as const)

/** Writes one word of an address; what it was before is what the transport's checksum has to be told. */
function changeAddress(family: 4 | 6, view: DataView, change: Change): number {
  const { index, value } = change
  if (family === 4) {
    const source = index < 4
    const old = source ? ipv4.srcAddr(view, IP_AT) : ipv4.dstAddr(view, IP_AT)
    if (source) ipv4.setSrcAddr(view, IP_AT, value)
    else ipv4.setDstAddr(view, IP_AT, value)
    return old
  }
  const i = index & 3
  const old = index < 4 ? ipv6.srcAddrWord(view, IP_AT, i) : ipv6.dstAddrWord(view, IP_AT, i)
  if (index < 4) ipv6.setSrcAddrWord(view, IP_AT, i, value)
  else ipv6.setDstAddrWord(view, IP_AT, i, value)
  return old
}

/** Applies a change and answers the one that undoes it. */
function apply(transport: typeof tcp | typeof udp, family: 4 | 6, p: Packet, change: Change, partial: boolean): Change {
  const { view, l4 } = p
  const port = change.value & 0xffff
  if (change.what === 'address') {
    const old = changeAddress(family, view, change)
    const adjust = partial ? transport.adjustChecksumPartial : transport.adjustChecksum
    adjust(view, l4, old, change.value)
    return { ...change, value: old }
  }
  const old = transport[change.what](view, l4)
  if (change.what === 'srcPort') (partial ? transport.setSrcPortPartial : transport.setSrcPort)(view, l4, port)
  else (partial ? transport.setDstPortPartial : transport.setDstPort)(view, l4, port)
  return { ...change, value: old }
}

const bytesOf = (p: Packet): string => toHex(new Uint8Array(p.view.buffer))

describe.each([
  ['TCP', tcp, PROTOCOL_TCP],
  ['UDP', udp, PROTOCOL_UDP],
] as const)('%s', (_, transport, protocol) => {
  function packet(family: 4 | 6, payload: Uint8Array): Packet {
    const p = packetOf(family, protocol, transport.HEADER_LEN, payload)
    transport.init(p.view, p.l4)
    return p
  }

  test('full: the bits of a full sum', () => {
    fc.assert(
      fc.property(family, payload, changes, (family, payload, changes) => {
        const p = packet(family, payload)
        transport.fillChecksum(p.view, p.l4, p.end, p.pseudoHeader())
        for (const change of changes) {
          apply(transport, family, p, change, false)
          expect(transport.verifyChecksum(p.view, p.l4, p.end, p.pseudoHeader())).toBe(true)
        }
        const incremental = bytesOf(p)
        transport.fillChecksum(p.view, p.l4, p.end, p.pseudoHeader())
        expect(incremental).toBe(bytesOf(p))
      }),
    )
  })

  test('partial: the bits of a fresh pseudo-header', () => {
    fc.assert(
      fc.property(family, payload, changes, (family, payload, changes) => {
        const p = packet(family, payload)
        transport.setChecksum(p.view, p.l4, p.pseudoHeader())
        for (const change of changes) {
          apply(transport, family, p, change, true)
          expect(transport.hasPartialChecksum(p.view, p.l4, p.pseudoHeader())).toBe(true)
        }
      }),
    )
  })

  test.each([false, true])('there and back again is the identity (partial: %s)', (partial) => {
    fc.assert(
      fc.property(family, payload, changes, (family, payload, changes) => {
        const p = packet(family, payload)
        if (partial) transport.setChecksum(p.view, p.l4, p.pseudoHeader())
        else transport.fillChecksum(p.view, p.l4, p.end, p.pseudoHeader())
        const before = bytesOf(p)
        const undo = changes.map((change) => apply(transport, family, p, change, partial)).reverse()
        for (const change of undo) apply(transport, family, p, change, partial)
        expect(bytesOf(p)).toBe(before)
      }),
    )
  })
})

test('TCP: every other setter keeps a full checksum too', () => {
  const p = packetOf(4, PROTOCOL_TCP, tcp.HEADER_LEN, Uint8Array.of(1, 2, 3))
  tcp.init(p.view, p.l4)
  tcp.fillChecksum(p.view, p.l4, p.end, p.pseudoHeader())
  fc.assert(
    fc.property(fc.integer(), fc.integer(), fc.nat(255), fc.nat(0xffff), (seq, ack, flags, window) => {
      tcp.setSequenceNumber(p.view, p.l4, seq)
      tcp.setAcknowledgmentNumber(p.view, p.l4, ack)
      tcp.setFlags(p.view, p.l4, flags)
      tcp.setWindow(p.view, p.l4, window)
      expect(tcp.verifyChecksum(p.view, p.l4, p.end, p.pseudoHeader())).toBe(true)
      expect(tcp.read(p.view, p.l4)).toMatchObject({ flags, window, sequenceNumber: seq >>> 0 })
      expect(tcp.headerLength(p.view, p.l4)).toBe(20)
    }),
  )
})

test('ICMPv6: addresses and identifiers', () => {
  fc.assert(
    fc.property(payload, changes, fc.nat(0xffff), (payload, changes, identifier) => {
      const p = packetOf(6, PROTOCOL_ICMPV6, icmpv6.HEADER_LEN, payload)
      icmpv6.setType(p.view, p.l4, icmpv6.TYPE_ECHO_REQUEST)
      icmpv6.fillChecksum(p.view, p.l4, p.end, p.pseudoHeader())
      for (const change of changes) {
        icmpv6.adjustChecksum(p.view, p.l4, changeAddress(6, p.view, change), change.value)
      }
      icmpv6.setIdentifier(p.view, p.l4, identifier)
      expect(icmpv6.verifyChecksum(p.view, p.l4, p.end, p.pseudoHeader())).toBe(true)
    }),
  )
})
