/** What the network says itself: which refused packet is answered, with what, and what it quotes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../packet/address.ts'
import * as icmp from '../../../packet/formats/icmp.ts'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMPV6 } from '../../../packet/formats/protocols.ts'
import { Packet } from '../../../packet/packet.ts'
import { ANSWER_BYTES, answer, isAnswered } from '../../../packet/path/answer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { indexOf } from '../../../packet/path/verdict.ts'
import { TokenBuckets } from '../../../packet/tables/token-buckets.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { MTU_BYTES, POD_A, twoNodes } from '../../support/two-nodes.ts'

const tables = twoNodes()
const AT = 64
const OUT = 4096

/** The answer to what pod A sends, in words, its checksums verified; undefined for silence. */
function answerTo(bytes: Uint8Array, toHost = false): string | undefined {
  const arena = new Uint8Array(OUT + ANSWER_BYTES)
  arena.set(bytes, AT)
  const packet = new Packet(arena)
  packet.set(AT, bytes.length)
  const out = new Packet(arena)
  out.at = OUT
  const reason = indexOf(fromPod(packet, POD_A, tables))
  if (!isAnswered(packet, reason, tables)) return undefined
  answer(packet, reason, tables, out, toHost)
  return out.family === 4 ? describe4(out, bytes) : describe6(out, bytes)
}

function describe4({ view, at, end, bytes }: Packet, original: Uint8Array): string {
  const message = at + 20
  expect(ipv4.check(view, at, end) && ipv4.verifyChecksum(view, at) && icmp.verifyChecksum(view, message, end)).toBe(
    true,
  )
  expect(end - at).toBeLessThanOrEqual(576)
  const quoted = bytes.slice(message + 8, end)
  expect(quoted).toEqual(original.slice(0, quoted.length))
  const address = (word: number): string => formatAddress([0, 0, 0xffff, word])
  const mtu = icmp.nextHopMtu(view, message)
  const what = `type ${icmp.type(view, message)} code ${icmp.code(view, message)}${mtu ? ` mtu ${mtu}` : ''}`
  return `${address(ipv4.srcAddr(view, at))} > ${address(ipv4.dstAddr(view, at))} ${what}`
}

function describe6({ view, at, end, bytes }: Packet, original: Uint8Array): string {
  const message = at + 40
  const pseudo = ipv6.pseudoHeader(view, at, PROTOCOL_ICMPV6, end - message)
  expect(ipv6.check(view, at, end) && icmpv6.verifyChecksum(view, message, end, pseudo)).toBe(true)
  expect(end - at).toBeLessThanOrEqual(1280)
  const quoted = bytes.slice(message + 8, end)
  expect(quoted).toEqual(original.slice(0, quoted.length))
  const address = (get: typeof ipv6.srcAddrWord): string =>
    formatAddress([get(view, at, 0), get(view, at, 1), get(view, at, 2), get(view, at, 3)])
  const mtu = icmpv6.mtu(view, message)
  const what = `type ${icmpv6.type(view, message)} code ${icmpv6.code(view, message)}${mtu ? ` mtu ${mtu}` : ''}`
  return `${address(ipv6.srcAddrWord)} > ${address(ipv6.dstAddrWord)} ${what}`
}

const BIG = `payload ${MTU_BYTES}`

describe('answers', () => {
  it.each([
    ['udp 10.244.1.5:1 > 10.244.2.9:2 ttl 1', '10.244.1.1 > 10.244.1.5 type 11 code 0'],
    ['udp 10.244.1.5:1 > 10.244.1.77:2', '10.244.1.1 > 10.244.1.5 type 3 code 1'],
    ['udp 10.244.1.5:1 > 10.244.9.9:2', '10.244.1.1 > 10.244.1.5 type 3 code 0'],
    [`udp 10.244.1.5:1 > 10.244.2.9:2 ${BIG}`, `10.244.1.1 > 10.244.1.5 type 3 code 4 mtu ${MTU_BYTES}`],
    ['icmp 10.244.1.5 > 10.244.2.9 ttl 1', '10.244.1.1 > 10.244.1.5 type 11 code 0'],
    ['udp fd00:10:244:1::5.1 > fd00:10:244:2::9.2 ttl 1', 'fd00:10:244:1::1 > fd00:10:244:1::5 type 3 code 0'],
    ['udp fd00:10:244:1::5.1 > fd00:10:244:1::77.2', 'fd00:10:244:1::1 > fd00:10:244:1::5 type 1 code 3'],
    ['udp fd00:10:244:1::5.1 > fd00:10:244:9::9.2', 'fd00:10:244:1::1 > fd00:10:244:1::5 type 1 code 0'],
    [
      `udp fd00:10:244:1::5.1 > fd00:10:244:2::9.2 ${BIG}`,
      `fd00:10:244:1::1 > fd00:10:244:1::5 type 2 code 0 mtu ${MTU_BYTES}`,
    ],
  ])('%s: %s', (line, expected) => {
    expect(answerTo(buildBytes(line))).toBe(expected)
  })
})

it('an answer to the host comes from an address that the host has not', () => {
  const line = 'udp 10.244.1.5:1 > 10.244.1.77:2'
  expect(answerTo(buildBytes(line), true)).toBe('10.244.1.2 > 10.244.1.5 type 3 code 1')
})

describe('silence', () => {
  const typed = (line: string, type: number, v6: boolean): Uint8Array => {
    const bytes = buildBytes(line)
    bytes[v6 ? 40 : 20] = type
    return bytes
  }

  it.each([
    ['an ICMP error', typed('icmp 10.244.1.5 > 10.244.2.9 ttl 1', 3, false)],
    ['another ICMP error', typed('icmp 10.244.1.5 > 10.244.2.9 ttl 1', 11, false)],
    ['an ICMPv6 error', typed('icmp fd00:10:244:1::5 > fd00:10:244:2::9 ttl 1', 1, true)],
    ['an ICMPv6 redirect', typed('icmp fd00:10:244:1::5 > fd00:10:244:2::9 ttl 1', 137, true)],
    ['a fragment after the first', buildBytes('udp 10.244.1.5:1 > 10.244.2.9:2 ttl 1 fragment 100')],
    ['a multicast', buildBytes('udp 10.244.1.5:1 > 224.0.0.1:2 ttl 1')],
    ['a broadcast', buildBytes('udp 10.244.1.5:1 > 255.255.255.255:2 ttl 1')],
    ['a spoofed source', buildBytes('udp 10.244.1.9:1 > 10.244.2.9:2 ttl 1')],
    ['what is malformed', buildBytes('udp 10.244.1.5:1 > 10.244.2.9:2 ttl 1').slice(0, 25)],
  ])('about %s', (_, bytes) => {
    expect(answerTo(bytes)).toBeUndefined()
  })
})

it('token buckets never give more than the burst and the rate allow, and recover', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 200 }), (gapsMs) => {
      const buckets = new TokenBuckets(2, 10, 5)
      let nowMs = 1000
      const takenAt: number[] = []
      for (const gap of gapsMs) {
        nowMs += gap
        if (buckets.take(1, nowMs)) takenAt.push(nowMs)
      }
      for (const [i, from] of takenAt.entries()) {
        for (const [j, to] of takenAt.slice(i).entries())
          expect(j).toBeLessThanOrEqual(4 + ((to - from) * 10) / 1000 + 1e-6)
      }
      expect(buckets.take(1, nowMs + 1000)).toBe(true)
      expect(buckets.take(0, nowMs)).toBe(true)
    }),
  )
})
