/**
 * With offloads as without: the same packets through the fast path, with the addon's segmentation, UDP trains and
 * coalescing, and through a naive slow one, which cuts every super-packet and joins nothing. What arrives must be the
 * same, byte for byte, in the order of each flow. Who judges what the fast path makes of it is the kernel:
 *
 *   packets ─► segment ─► UDP over the loopback ─► coalesce ─► TUN `in` ─► kernel forwards ─► TUN `out` without offloads
 *          └─────────────── on one node ──────────────┘                    (and cuts what was joined)
 *
 * The only liberty taken: the identification of an IPv4 packet that must not be fragmented means nothing (RFC 6864, 4.1).
 */
import { readSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SLOTS } from '../../daemon/dataplane/batch-memory.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import * as nic from '../../daemon/nic/nic.ts'
import { parseAddress } from '../../packet/address.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { flowHash, Packet } from '../../packet/packet.ts'
import { parse } from '../../packet/path/parse.ts'
import { Netns } from '../support/netns.ts'
import { segmentNaively } from '../support/segment-model.ts'
import { handedOver, type Varied, variedPackets } from '../support/varied-packets.ts'

const RUNS = process.env['TEST_POLDER_FULL'] ? 2000 : 80
const AT = 128
const ENVELOPE_BYTES = 22
const VNET_BYTES = 10
const POD_PORT = d.PORT_FIRST_POD
const LOOPBACK = Uint8Array.from([127, 0, 0, 1])
/** Two, that no other run of this test on the machine has. */
const UDP_PORT = 20_000 + (process.pid % 10_000) * 2
const PATIENCE_MS = 20_000

/** A data plane and what JavaScript shares with it. */
class Plane {
  readonly arena = new Uint8Array(SLOTS * d.SLOT_BYTES)
  readonly rx = new Int32Array(SLOTS * d.RX_WORDS)
  readonly tx = new Int32Array(4096 * d.TX_WORDS)
  readonly failures = new Int32Array(d.FAIL_WORDS)
  readonly packet = new Packet(this.arena)
  readonly senders = Array.from({ length: 4 }, () => nic.openUnderlay(LOOPBACK, 0, 0))
  readonly handle = nic.dataplaneCreate(this.arena, this.rx, this.tx, this.failures, Int32Array.from(this.senders))
  #filled = 0

  /** What the path would write for the packet that `packet` points at: to the peer, or to the pod's device. */
  emit(port: number): void {
    const { packet } = this
    expect(parse(packet)).toBe(0)
    const l4 = packet.l4 === 0 || packet.isFragment ? 0 : (packet.l4 - packet.at) | (packet.protocol << 16)
    const flags = packet.checksum | (packet.gsoType << 8)
    const checksum = packet.checksumStart | (packet.checksumOffset << 16)
    const words = [port, packet.at, packet.length, flags, packet.gsoSizeBytes, checksum, 0, l4, flowHash(packet), 0]
    this.tx.set(words, this.#filled++ * d.TX_WORDS)
  }

  send(): void {
    nic.dataplaneSend(this.handle, this.#filled)
    this.#filled = 0
  }

  /** Packets as a pod's device handed them over, in batches, to the peer or to the other pod. */
  take(packets: Varied[], port: number): void {
    for (let begin = 0; begin < packets.length; begin += SLOTS) {
      for (const [slot, one] of packets.slice(begin, begin + SLOTS).entries()) {
        const at = slot * d.SLOT_BYTES + AT
        const bytes = handedOver(one)
        this.arena.set(bytes, at)
        this.packet.set(at, bytes.length)
        this.packet.checksum = one.partial ? 1 : 0
        this.packet.checksumStart = one.partial ? one.l4 : 0
        this.packet.checksumOffset = one.partial ? one.checksumOffset : 0
        this.packet.gsoType = one.gsoType
        this.packet.gsoSizeBytes = one.gsoSizeBytes
        this.emit(port)
      }
      this.send()
    }
  }

  /** One batch from the underlay to the pod's device. Answers how many packets it had, and in how many messages. */
  carry(): { packets: number; messages: number } {
    const received = nic.dataplaneReceive(this.handle, 100)
    let packets = 0
    let messages = 0
    for (let i = 0; i < received; i++) {
      const at = i * d.RX_WORDS
      // What the kernel itself says on the pod's device: neighbour discovery.
      if (this.rx[at + d.RX_PORT] !== d.PORT_UNDERLAY) continue
      messages++
      const start = this.rx[at + d.RX_OFFSET]!
      const length = this.rx[at + d.RX_LENGTH]!
      const step = this.rx[at + d.RX_SEGMENT]! || length
      for (let done = 0; done < length; done += step, packets++) {
        this.packet.set(start + done + ENVELOPE_BYTES, Math.min(step, length - done) - ENVELOPE_BYTES)
        this.emit(POD_PORT)
      }
    }
    this.send()
    return { packets, messages }
  }
}

const plane = new Plane()
let netns: Netns
let input: number
let output: number
/** One that asks for trains, one that takes datagrams one by one. */
const sockets = [nic.openUnderlay(LOOPBACK, UDP_PORT, 1), nic.openUnderlay(LOOPBACK, UDP_PORT + 1, 2)]

beforeAll(async () => {
  netns = await Netns.create('differential')
  input = nic.openTun(netns.fd, 'in')
  output = nic.openTun(netns.fd, 'out')
  const sysctl = '/proc/sys/net'
  const script = [
    'ethtool -K out tx off tso off gso off tx-udp-segmentation off',
    'for c in in out; do ip link set $c addrgenmode none txqueuelen 20000 up; done',
    `echo 1 > ${sysctl}/ipv4/ip_forward; echo 1 > ${sysctl}/ipv6/conf/all/forwarding`,
    `for c in all in out; do echo 0 > ${sysctl}/ipv4/conf/$c/rp_filter; done`,
    'ip route add 10.99.1.0/24 dev out; ip -6 route add fd99:0:0:1::/64 dev out',
    'ip addr add 10.99.9.1/32 dev in',
  ].join('\n')
  await netns.run('sh', '-ec', script)
  nic.dataplaneSetPort(plane.handle, POD_PORT, input)
})

afterAll(async () => {
  for (const fd of [input, output, ...sockets, ...plane.senders]) nic.closeFd(fd)
  await netns[Symbol.asyncDispose]()
})

/** What came out of the kernel, once there are so many, and whatever follows at once. */
async function arrived(count: number): Promise<Uint8Array[]> {
  const packets: Uint8Array[] = []
  const buffer = Buffer.alloc(70_000)
  const drain = (): boolean => {
    for (;;) {
      try {
        const length = readSync(output, buffer, 0, buffer.length, null)
        expect([...buffer.subarray(0, VNET_BYTES)], 'a packet with offload state').toEqual(
          new Array(VNET_BYTES).fill(0),
        )
        const packet = Uint8Array.from(buffer.subarray(VNET_BYTES, length))
        if (!isMulticast6(packet)) packets.push(packet)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
        return packets.length >= count
      }
    }
  }
  for (const end = performance.now() + PATIENCE_MS; !drain() && performance.now() < end; ) await delay(1)
  return packets
}

/** What the kernel itself says on a device: who listens to which group. */
const isMulticast6 = (packet: Uint8Array): boolean => packet[0]! >> 4 === 6 && packet[24] === 0xff

/** The slow path: every super-packet cut, nothing joined, one hop. */
function naively(packets: Varied[]): Uint8Array[] {
  return packets
    .flatMap(({ bytes, gsoSizeBytes }) => (gsoSizeBytes > 0 ? segmentNaively(bytes, gsoSizeBytes) : [bytes.slice()]))
    .map((bytes) => {
      const view = new DataView(bytes.buffer)
      if (bytes[0]! >> 4 === 4) ipv4.decrementTtl(view, 0)
      else ipv6.decrementHopLimit(view, 0)
      return bytes
    })
}

/** Of each flow, fragments apart, its packets in order, as hex. */
function byFlow(packets: Uint8Array[]): Record<string, string[]> {
  const flows: Record<string, string[]> = {}
  const slot = new Packet(new Uint8Array(70_000))
  for (const bytes of packets) {
    slot.bytes.set(bytes, 100)
    slot.set(100, bytes.length)
    expect(parse(slot), Buffer.from(bytes).toString('hex')).toBe(0)
    if (slot.family === 4 && ipv4.dontFragment(slot.view, 100)) {
      ipv4.setIdentification(slot.view, 100, 0)
      ipv4.fillChecksum(slot.view, 100)
    }
    const key = `IPv${slot.family} ${slot.protocol}${slot.isFragment ? ' fragment' : ''}`
    flows[key] ??= []
    flows[key].push(Buffer.from(slot.bytes.subarray(100, 100 + bytes.length)).toString('hex'))
  }
  return flows
}

async function compare(packets: Varied[]): Promise<void> {
  const expected = naively(packets)
  const seen = byFlow(await arrived(expected.length))
  expect(plane.failures.some(Boolean)).toBe(false)
  expect(seen).toEqual(byFlow(expected))
}

const FC = { numRuns: RUNS, ...(process.env['TEST_POLDER_SEED'] && { seed: Number(process.env['TEST_POLDER_SEED']) }) }

it.for([
  ['in trains', 0],
  ['one by one', 1],
] as const)('across nodes, received %s: what arrives is what was sent', async ([, peer]) => {
  nic.dataplaneSetPort(plane.handle, d.PORT_UNDERLAY, sockets[peer]!)
  nic.dataplaneSetPeers(plane.handle, Int32Array.of(...parseAddress('127.0.0.1'), UDP_PORT + peer), 1)
  let messages = 0
  let datagrams = 0
  await fc.assert(
    fc.asyncProperty(variedPackets, async (packets) => {
      plane.take(packets, d.PORT_UNDERLAY)
      const expected = datagrams + naively(packets).length
      for (const end = performance.now() + PATIENCE_MS; datagrams < expected && performance.now() < end; ) {
        const carried = plane.carry()
        messages += carried.messages
        datagrams += carried.packets
      }
      await compare(packets)
    }),
    FC,
  )
  // The property would hold where nothing comes in trains.
  if (peer === 0) expect(datagrams).toBeGreaterThan(2 * messages)
  else expect(datagrams).toBe(messages)
})

it('on one node: what arrives is what was sent', async () => {
  await fc.assert(
    fc.asyncProperty(variedPackets, async (packets) => {
      plane.take(packets, POD_PORT)
      await compare(packets)
    }),
    FC,
  )
})
