/** Packets as text through each entrance: who sent what, and what became of it. */
import { describe, expect, it } from 'vitest'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import { HEADROOM_BYTES } from '../../../packet/packet.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { buildBytes, buildPacket, packetOf } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, MTU_BYTES, POD_A, twoNodes } from '../../support/two-nodes.ts'

const tables = twoNodes()

/** [what pod A sends, what becomes of it] */
const FROM_POD: [string, string][] = [
  ['udp 10.244.1.5:1000 > 10.244.1.6:53', 'pod 4'],
  ['tcp 10.244.1.5:1000 > 10.244.2.9:80 flags syn', 'peer 0'],
  ['icmp 10.244.1.5 > 10.244.1.1', 'host'],
  ['icmp 10.244.1.5 > 10.244.2.1', 'peer 0'],
  ['icmp 10.244.1.5 > 192.0.2.1', 'host'],
  ['icmp 10.244.1.5 > 192.0.2.2', 'peer 0'],
  ['udp 10.244.1.5:1000 > 198.51.100.7:53', 'world'],
  ['udp 10.244.1.5:1000 > 10.244.1.77:53', 'no-such-pod'],
  ['udp 10.244.1.5:1000 > 10.244.3.1:53', 'no-route'],
  ['udp 10.244.1.6:1000 > 10.244.2.9:53', 'spoofed-pod'],
  ['udp 192.0.2.1:1000 > 10.244.2.9:53', 'spoofed-pod'],
  ['udp 127.0.0.1:1000 > 10.244.2.9:53', 'martian'],
  ['udp 10.244.1.5:1000 > 127.0.0.1:53', 'martian'],
  ['udp 0.0.0.0:68 > 255.255.255.255:67', 'multicast'],
  ['udp 10.244.1.5:1000 > 224.0.0.251:5353', 'multicast'],
  ['udp 10.244.1.5:1000 > 240.0.0.1:9', 'martian'],
  ['udp 10.244.1.5:1000 > 10.244.1.6:53 ttl 1', 'ttl-expired'],
  ['udp 10.244.1.5:1000 > 10.244.1.6:53 ttl 0', 'ttl-expired'],
  ['udp 10.244.1.5:1000 > 10.244.2.9:53 fragment 185', 'peer 0'],
  [`udp 10.244.1.5:1000 > 10.244.2.9:53 payload ${MTU_BYTES - 28}`, 'peer 0'],
  [`udp 10.244.1.5:1000 > 10.244.2.9:53 payload ${MTU_BYTES - 27}`, 'too-big'],
  ['udp fd00:10:244:1::5.1000 > fd00:10:244:1::6.53', 'pod 4'],
  ['tcp fd00:10:244:1::5.1000 > fd00:10:244:2::9.80', 'peer 0'],
  ['icmp fd00:10:244:1::5 > fd00:10:244:1::1', 'host'],
  ['udp fd00:10:244:1::5.1000 > 2001:db8::7.53', 'world'],
  ['udp fd00:10:244:1::5.1000 > fd00:10:244:1::77.53', 'no-such-pod'],
  ['udp fd00:10:244:1::5.1000 > fd00:10:244:9::1.53', 'no-route'],
  ['udp fd00:10:244:1::6.1000 > fd00:10:244:2::9.53', 'spoofed-pod'],
  ['udp ::1.1000 > fd00:10:244:2::9.53', 'martian'],
  ['icmp fe80::1 > ff02::2', 'multicast'],
  ['icmp fe80::1 > fe80::2', 'link-local'],
  ['udp fd00:10:244:1::5.1000 > fd00:10:244:1::6.53 ttl 1', 'ttl-expired'],
]

/** [what node 2 carries in VXLAN, what becomes of it] */
const FROM_PEER: [string, string][] = [
  ['udp 10.244.2.9:1000 > 10.244.1.5:53', 'pod 3'],
  ['icmp 10.244.2.9 > 10.244.1.1', 'host'],
  ['icmp 192.0.2.2 > 10.244.1.5', 'pod 3'],
  ['icmp 10.244.2.9 > 192.0.2.1', 'host'],
  ['icmp 10.244.2.9 > 198.51.100.7', 'no-transit'],
  ['udp 10.244.2.9:1000 > 10.244.2.10:53', 'no-transit'],
  ['udp 10.244.1.6:1000 > 10.244.1.5:53', 'spoofed-peer'],
  ['udp 198.51.100.7:1000 > 10.244.1.5:53', 'pod 3'],
  ['udp 198.51.100.7:1000 > 10.244.1.1:53', 'spoofed-peer'],
  ['udp 10.244.3.9:1000 > 10.244.1.5:53', 'spoofed-peer'],
  ['udp 10.244.2.9:1000 > 10.244.1.77:53', 'no-such-pod'],
  ['udp 10.244.2.9:1000 > 10.244.1.5:53 ttl 1', 'ttl-expired'],
  ['udp 127.0.0.1:1000 > 10.244.1.5:53', 'martian'],
  ['tcp fd00:10:244:2::9.1000 > fd00:10:244:1::6.53', 'pod 4'],
  ['tcp fd00:10:244:1::9.1000 > fd00:10:244:1::6.53', 'spoofed-peer'],
]

/** [what the host routes to polder0, what becomes of it] */
const FROM_HOST: [string, string][] = [
  ['icmp 10.244.1.1 > 10.244.1.5', 'pod 3'],
  ['icmp 10.244.1.1 > 10.244.2.9', 'peer 0'],
  ['icmp 192.0.2.1 > 10.244.2.9', 'peer 0'],
  ['udp 198.51.100.7:53 > 10.244.1.5:1000', 'pod 3'],
  ['icmp 10.244.1.1 > 198.51.100.7', 'no-route'],
  ['icmp 10.244.1.1 > 10.244.1.1', 'no-route'],
  ['icmp 10.244.1.6 > 10.244.1.5', 'spoofed-host'],
  ['icmp 10.244.2.9 > 10.244.1.5', 'spoofed-host'],
  ['icmp 192.0.2.2 > 10.244.1.5', 'spoofed-host'],
  ['icmp fd00:10:244:1::1 > fd00:10:244:2::9', 'peer 0'],
]

describe('from a pod', () => {
  it.each(FROM_POD)('%s → %s', (line, expected) => {
    expect(describeVerdict(fromPod(buildPacket(line), POD_A, tables))).toBe(expected)
  })
})

describe('from a peer', () => {
  it.each(FROM_PEER)('%s → %s', (line, expected) => {
    expect(describeVerdict(fromPeer(envelope(buildBytes(line)), 0, tables))).toBe(expected)
  })

  it.each([
    ['a peer nobody knows', -1, (bytes: Uint8Array) => bytes, 'unknown-peer'],
    ['another VNI', 0, (bytes: Uint8Array) => change(bytes, 6, 9), 'wrong-vni'],
    ['no VNI', 0, (bytes: Uint8Array) => change(bytes, 0, 0), 'malformed-vxlan'],
    ['ARP inside', 0, (bytes: Uint8Array) => change(change(bytes, 20, 0x08), 21, 0x06), 'not-ip'],
    ['only an envelope', 0, (bytes: Uint8Array) => bytes.slice(0, 22), 'malformed-ip'],
    ['half an envelope', 0, (bytes: Uint8Array) => bytes.slice(0, 12), 'malformed-vxlan'],
    ['nothing', 0, (bytes: Uint8Array) => bytes.slice(0, 0), 'malformed-vxlan'],
  ])('%s', (_, peer, spoil, expected) => {
    const good = envelope(buildBytes('udp 10.244.2.9:1000 > 10.244.1.5:53'))
    const bytes = spoil(good.bytes.slice(good.at, good.end))
    expect(describeVerdict(fromPeer(packetOf(bytes, 0), peer, tables))).toBe(expected)
  })
})

describe('from the host', () => {
  it.each(FROM_HOST)('%s → %s', (line, expected) => {
    expect(describeVerdict(fromHost(buildPacket(line), tables))).toBe(expected)
  })
})

describe('rewriting', () => {
  it('takes one off the TTL, keeps the header checksum right and changes nothing else', () => {
    const packet = buildPacket('udp 10.244.1.5:1000 > 10.244.1.6:53 payload 9')
    const before = packet.bytes.slice(packet.at, packet.end)
    fromPod(packet, POD_A, tables)
    expect(ipv4.verifyChecksum(packet.view, packet.at)).toBe(true)
    before[8]!--
    before.set(packet.bytes.slice(packet.at + 10, packet.at + 12), 10)
    expect(packet.bytes.slice(packet.at, packet.end)).toEqual(before)
  })

  it('writes VXLAN and Ethernet into the headroom, as RFC 7348 draws them', () => {
    const packet = buildPacket('udp fd00:10:244:1::5.1000 > fd00:10:244:2::9.53')
    fromPod(packet, POD_A, tables)
    const header = Buffer.from(packet.bytes.slice(packet.at - HEADROOM_BYTES, packet.at)).toString('hex')
    expect(header).toMatch(/^0800000000000100[0-9a-f]{24}86dd$/)
  })

  it('leaves a refused packet as it was', () => {
    const packet = buildPacket('udp 10.244.1.5:1000 > 10.244.3.1:53')
    const before = packet.bytes.slice()
    fromPod(packet, POD_A, tables)
    expect(packet.bytes).toEqual(before)
  })

  it('judges a super-packet by its segments', () => {
    const packet = buildPacket('tcp 10.244.1.5:1000 > 10.244.2.9:80 payload 20000')
    packet.gsoType = 1
    packet.gsoSizeBytes = MTU_BYTES - 40
    expect(describeVerdict(fromPod(packet, POD_A, tables))).toBe('peer 0')
    const larger = buildPacket('tcp 10.244.1.5:1000 > 10.244.2.9:80 payload 20000')
    larger.gsoType = 1
    larger.gsoSizeBytes = MTU_BYTES - 39
    expect(describeVerdict(fromPod(larger, POD_A, tables))).toBe('too-big')
  })
})

function change(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice()
  copy[at] = value
  return copy
}
