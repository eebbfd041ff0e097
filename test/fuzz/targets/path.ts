/**
 * The data path as the worker runs it: one receive descriptor as a device or the underlay may report it, through the
 * batch, and what it wants transmitted judged by path-oracle.ts. An input is a control block and the packet:
 *
 *   0 entrance   1 flags   2 gso type   3 gso size   5 checksum start   7 checksum offset   9 outer TOS
 *   10 length to fill up to   12 bytes of each datagram of a train   14 what to set right   15 not used
 */
import { Batch } from '../../../daemon/dataplane/batch.ts'
import { type BatchMemory, createBatchMemory } from '../../../daemon/dataplane/batch-memory.ts'
import { COUNT_DROPS, COUNTER_SLOTS } from '../../../daemon/dataplane/protocol.ts'
import * as d from '../../../daemon/nic/descriptors.ts'
import { parseAddress } from '../../../packet/address.ts'
import { CHECKSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../../../packet/packet.ts'
import { DROP_REASONS } from '../../../packet/path/drop-reason.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { envelopeBytes } from '../../support/envelope.ts'
import { readPcap } from '../../support/pcap.ts'
import { POD_A, POD_B, twoNodes } from '../../support/two-nodes.ts'
import { join } from '../mutate.ts'
import { CONTROL_BYTES, mutatePacket, SET_CHECKSUM, SET_LENGTH } from '../packet-mutations.ts'
import { Judge, type Sent } from '../path-oracle.ts'
import type { Target } from '../target.ts'

const SLOT_AT = 128
const PEER = parseAddress('192.0.2.2')
const STRANGER = parseAddress('192.0.2.77')
const FLAG_PARTIAL = 1
const FLAG_FOREIGN = 2
const FLAG_FILLED = 4
const FLAG_TRAIN = 8
const GSO_TYPES = [0, 0, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_TCPV4 | 0x80, GSO_TCPV6 | 0x80, 3]
const PACKET_BYTES_MAX = d.SLOT_BYTES - SLOT_AT
/** What may be written before a packet is its headroom; a pattern lies before that, and behind the packet. */
const CANARY = 0xa5
const CANARY_BYTES = 64
const HEADROOM = 22

const counters = new Float64Array(COUNTER_SLOTS)
const sent: Sent[] = []
let current: BatchMemory
const collect = (count: number): void => {
  for (let i = 0; i < count; i++) {
    const tx = current.tx.slice(i * d.TX_WORDS, (i + 1) * d.TX_WORDS)
    const from = tx[d.TX_OFFSET]! - (tx[d.TX_PORT] === d.PORT_UNDERLAY ? HEADROOM : 0)
    const end = tx[d.TX_OFFSET]! + tx[d.TX_LENGTH]!
    if (from < 0 || end > current.arena.length) throw new Error(`transmits ${from} to ${end}, outside the arena`)
    sent.push({ tx, bytes: current.arena.slice(tx[d.TX_OFFSET]!, end) })
  }
}
const nodes = [false, true].map((foreign) => {
  const memory = createBatchMemory()
  return { memory, batch: new Batch(twoNodes({ foreign }), counters, memory, collect) }
})
let nowMs = 0

function control(entrance: number, settings: { flags?: number; gso?: number; gsoSize?: number; checksum?: number[] }) {
  const block = new Uint8Array(CONTROL_BYTES)
  const view = new DataView(block.buffer)
  view.setUint8(0, entrance)
  view.setUint8(1, settings.flags ?? 0)
  view.setUint8(2, settings.gso ?? 0)
  view.setUint16(3, settings.gsoSize ?? 0)
  view.setUint16(5, settings.checksum?.[0] ?? 0)
  view.setUint16(7, settings.checksum?.[1] ?? 0)
  view.setUint8(14, SET_CHECKSUM | SET_LENGTH)
  return block
}

const FROM_POD = [
  'udp 10.244.1.5:1000 > 10.244.2.9:53 payload 20',
  'udp 10.244.1.5:1000 > 198.51.100.7:53 ttl 1 payload 20',
  'tcp 10.244.1.5:1000 > 10.244.1.6:80 flags syn',
  'icmp fd00:10:244:1::5 > fd00:10:244:2::9 payload 16',
  'tcp fd00:10:244:1::5.1000 > fd00:10:244:1::6.80 payload 9',
  'udp 10.244.1.5:1000 > 10.244.2.9:53 fragment 185 payload 8',
].map(buildBytes)
const FROM_PEER = ['udp 10.244.2.9:1000 > 10.244.1.5:53 payload 9', 'icmp fd00:10:244:2::9 > fd00:10:244:1::5']
const CAPTURED = ['vxlan.pcap', 'gso-ipv4-vxlan-ipv4.pcap'].flatMap((name) =>
  readPcap(`${import.meta.dirname}/../../vectors/${name}`).map(({ bytes }) => bytes.slice(42, 242)),
)

const SEEDS = [
  ...FROM_POD.map((packet) => join(control(0, {}), packet)),
  join(control(0, { flags: FLAG_PARTIAL, gso: 2, gsoSize: 1400, checksum: [20, 16] }), FROM_POD[2]!),
  join(control(0, { flags: FLAG_PARTIAL, checksum: [40, 16] }), FROM_POD[4]!),
  join(control(2, {}), buildBytes('tcp 10.244.1.1:1000 > 10.244.1.6:80')),
  ...FROM_PEER.map((line) => join(control(3, {}), envelopeBytes(buildBytes(line)))),
  ...CAPTURED.map((datagram) => join(control(3, { flags: FLAG_FOREIGN }), datagram)),
]

function run(input: Uint8Array): string {
  const block = new Uint8Array(CONTROL_BYTES)
  block.set(input.subarray(0, CONTROL_BYTES))
  const view = new DataView(block.buffer)
  const flags = view.getUint8(1)
  const packet = input.subarray(CONTROL_BYTES)
  const wanted = flags & FLAG_FILLED ? view.getUint16(10) : 0
  const length = Math.min(PACKET_BYTES_MAX, Math.max(packet.length, wanted))
  const entrance = view.getUint8(0) % 5
  const { batch, memory } = nodes[flags & FLAG_FOREIGN ? 1 : 0]!
  current = memory
  const { arena, rx } = memory
  // What a train's datagrams stand in belongs to the datagram before.
  const at = SLOT_AT - (entrance >= 3 ? HEADROOM : 0)
  arena.fill(CANARY, 0, at)
  arena.set(packet.subarray(0, length), at)
  arena.fill(0x20, at + packet.length, at + length)
  arena.fill(CANARY, at + length, at + length + CANARY_BYTES)
  setRight(memory, entrance >= 3 ? at + HEADROOM : at, at + length, view.getUint8(14))

  const given = arena.slice(at, at + length)
  const gso = entrance >= 3 ? 0 : GSO_TYPES[view.getUint8(2) & 7]!
  const partial = entrance < 3 && (flags & FLAG_PARTIAL) !== 0
  rx.fill(0)
  rx[d.RX_PORT] = [POD_A, POD_B, d.PORT_HOST, d.PORT_UNDERLAY, d.PORT_UNDERLAY][entrance]!
  rx[d.RX_OFFSET] = at
  rx[d.RX_LENGTH] = length
  rx[d.RX_FLAGS] = (partial ? CHECKSUM_PARTIAL : 0) | (gso << 8)
  rx[d.RX_GSO_SIZE] = gso === 0 ? 0 : view.getUint16(3)
  rx[d.RX_CSUM] = partial ? view.getUint16(5) | (view.getUint16(7) << 16) : 0
  rx[d.RX_TOS] = entrance >= 3 ? view.getUint8(9) : 0
  rx[d.RX_SEGMENT] = entrance >= 3 && flags & FLAG_TRAIN ? view.getUint16(12) : 0
  rx.set(entrance === 4 ? STRANGER : PEER, d.RX_SRC_ADDR)
  sent.length = 0
  counters.fill(0)
  // Late enough that every party may be answered again.
  nowMs += 10_000
  batch.begin(1)
  batch.run(nowMs)

  if (arena.subarray(0, at - (entrance >= 3 ? 0 : HEADROOM)).some((byte) => byte !== CANARY)) {
    throw new Error('wrote before the headroom')
  }
  if (arena.subarray(at + length, at + length + CANARY_BYTES).some((byte) => byte !== CANARY)) {
    throw new Error('wrote behind the packet')
  }
  const drops = DROP_REASONS.flatMap(({ name }, code) => (counters[COUNT_DROPS + code]! > 0 ? [name] : []))
  const what = new Judge({ entrance, given, rx, foreign: (flags & FLAG_FOREIGN) !== 0, drops }, sent).judge()
  const version = given[entrance >= 3 ? HEADROOM : 0]! >> 4 === 6 ? 6 : 4
  return `${entrance} v${version} ${what}${partial ? ' partial' : ''}${gso === 0 ? '' : ' gso'}`
}

/** Without right lengths and checksums nothing behind the first check would ever be tried. */
function setRight({ arena }: BatchMemory, ip: number, end: number, what: number): void {
  if (end - ip < 20) return
  const view = new DataView(arena.buffer, arena.byteOffset)
  const v4 = arena[ip]! >> 4 === 4
  if (what & SET_LENGTH) {
    if (v4) view.setUint16(ip + 2, Math.min(65535, end - ip))
    else if (end - ip >= 40) view.setUint16(ip + 4, Math.min(65535, end - ip - 40))
  }
  const header = (arena[ip]! & 15) * 4
  if (!v4 || !(what & SET_CHECKSUM) || header < 20 || header > end - ip) return
  view.setUint16(ip + 10, 0)
  let sum = 0
  for (let i = 0; i < header; i += 2) sum += view.getUint16(ip + i)
  sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(ip + 10, ~((sum & 0xffff) + (sum >>> 16)))
}

export const path: Target = {
  name: 'path',
  watches: /\/(packet\/|daemon\/dataplane\/batch)/,
  seeds: SEEDS,
  bytesMax: CONTROL_BYTES + 400,
  mutate: mutatePacket,
  run,
}
