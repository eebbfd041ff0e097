/**
 * Bytes that nobody meant: random ones, real packets cut short, real packets with bits turned. The path must never
 * throw, never read outside, and never carry what a naive reading of the headers would not.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Packet } from '../../../packet/packet.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { DROP, kindOf, type Verdict } from '../../../packet/path/verdict.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { readPcap } from '../../support/pcap.ts'
import { POD_A, twoNodes } from '../../support/two-nodes.ts'

const HEADROOM = 64
const tables = twoNodes()
const arena = new Uint8Array(70_000)
const slot = new Packet(arena)

type Entrance = (packet: Packet) => Verdict
const ENTRANCES: [string, Entrance][] = [
  ['from-pod', (packet) => fromPod(packet, POD_A, tables)],
  ['from-host', (packet) => fromHost(packet, tables)],
  ['from-peer', (packet) => fromPeer(packet, 0, tables)],
]

const SEEDS = [
  'udp 10.244.1.5:1000 > 10.244.2.9:53 payload 40',
  'tcp 10.244.1.5:1000 > 10.244.1.6:80 flags syn',
  'icmp 10.244.1.5 > 10.244.1.6 payload 56',
  'udp fd00:10:244:1::5.1000 > fd00:10:244:2::9.53 payload 40',
  'icmp fd00:10:244:1::5 > fd00:10:244:1::6 payload 16',
].map(buildBytes)
const ENVELOPE = [8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
const CARRIED = ['udp 10.244.2.9:1000 > 10.244.1.5:53 payload 40', 'tcp 10.244.2.9:1000 > 10.244.1.6:80']
  .map(buildBytes)
  .map((ip) => Uint8Array.from([...ENVELOPE, ...ip]))
const CAPTURED = ['vxlan.pcap', 'gso-ipv4-vxlan-ipv4.pcap', 'gso-ipv6-vxlan-ipv4.pcap'].flatMap((name) =>
  readPcap(`${import.meta.dirname}/../../vectors/${name}`).map(({ bytes }) => bytes.slice(42)),
)

/** Pushes the bytes through, surrounded by a pattern that no step may touch. */
function push(entrance: Entrance, bytes: Uint8Array): Verdict {
  arena.fill(0xa5, 0, HEADROOM + bytes.length + 64)
  arena.set(bytes, HEADROOM)
  slot.set(HEADROOM, bytes.length)
  const verdict = entrance(slot)
  const behind = arena.subarray(HEADROOM + bytes.length, HEADROOM + bytes.length + 64)
  if (behind.some((byte) => byte !== 0xa5)) throw new Error('wrote behind the packet')
  if (arena.subarray(0, HEADROOM - 22).some((byte) => byte !== 0xa5)) throw new Error('wrote before the headroom')
  return verdict
}

it.each(ENTRANCES)('%s: random bytes never throw and are never delivered', (_, entrance) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(kindOf(push(entrance, bytes))).toBe(DROP)
    }),
    { numRuns: 20_000 },
  )
})

it.each(ENTRANCES)('%s: a packet cut short is never delivered', (_, entrance) => {
  for (const seed of [...SEEDS, ...CARRIED]) {
    for (let length = 0; length < seed.length; length++) {
      expect(kindOf(push(entrance, seed.subarray(0, length)))).toBe(DROP)
    }
  }
})

it.each(ENTRANCES)('%s: mutated packets never throw, and what is delivered has whole headers', (_, entrance) => {
  const mutation = fc.record({
    seed: fc.constantFrom(...SEEDS, ...CARRIED, ...CAPTURED),
    changes: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 6 }),
    cut: fc.oneof(fc.constant(Number.MAX_SAFE_INTEGER), fc.nat(200)),
  })
  fc.assert(
    fc.property(mutation, ({ seed, changes, cut }) => {
      const bytes = seed.slice(0, cut)
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      if (kindOf(push(entrance, bytes)) === DROP) return
      const { view, at, end } = slot
      const length = view.getUint8(at) >> 4 === 4 ? view.getUint16(at + 2) : 40 + view.getUint16(at + 4)
      expect(length).toBe(end - at)
      expect(end).toBeLessThanOrEqual(HEADROOM + bytes.length)
    }),
    { numRuns: 50_000 },
  )
})
