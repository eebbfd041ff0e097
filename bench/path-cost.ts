/**
 * Run as a process of its own: how long the JavaScript of one packet takes, without any device. Virtual packets lie
 * where the addon would have put them, go through the data plane's batch (descriptor in, an entrance of the path, descriptor out),
 * and the sending is left out. Prints {"pod to peer":[ns,…],…}, one value a pass.
 *
 *   node path-cost.ts SECONDS [CASE]      that long for each entrance, or for one of the cases alone
 *
 * All cases are played before one is measured, so that the code is what a node has that meets all kinds of packets. 64
 * flows, a packet of each in a batch; all but the first batch find their flow. The TTL goes down in place, so every so
 * often the packets are made anew; that is in the figure, and is less than 1 % of it.
 */
import { Batch } from '../daemon/dataplane/batch.ts'
import { createBatchMemory } from '../daemon/dataplane/batch-memory.ts'
import { COUNT_DROPS, COUNTER_SLOTS } from '../daemon/dataplane/protocol.ts'
import * as d from '../daemon/nic/descriptors.ts'
import { parseAddress } from '../packet/address.ts'
import * as ipv4 from '../packet/formats/ipv4.ts'
import { buildBytes } from '../test/support/build-packet.ts'
import { POD_A, twoNodes } from '../test/support/two-nodes.ts'

const FLOWS = 64
const OFFSET = 128
const TTL = 255
const BATCHES = 200
/** How often in one pass: some kernels count CPU time in steps of 4 ms, and a pass is to have many of these. */
const REFRESHES = 50
const PACKETS = REFRESHES * BATCHES * FLOWS
/** Time goes on, and with it what is due from time to time. */
const BATCH_MS = 0.02
/** VXLAN header and inner Ethernet, as a peer sends them. */
const ENVELOPE = [8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
const PEER = parseAddress('192.0.2.2')

const port = (i: number): number => 1000 + i
interface Case {
  readonly port: number
  /** Each packet is the first of its flow. */
  readonly opens?: true
  packet(i: number): Uint8Array
}
const CASES: Record<string, Case> = {
  'pod to peer': { port: POD_A, packet: (i) => udp(`10.244.1.5:${port(i)} > 10.244.2.9:53`) },
  'peer to pod': {
    port: d.PORT_UNDERLAY,
    packet: (i) => fromPeer(udp(`10.244.2.9:53 > 10.244.1.5:${port(i)}`), [8, 0]),
  },
  'pod to pod': { port: POD_A, packet: (i) => udp(`10.244.1.5:${port(i)} > 10.244.1.6:53`) },
  'host to pod': { port: d.PORT_HOST, packet: (i) => udp(`10.244.1.1:${port(i)} > 10.244.1.5:53`) },
  'pod to peer, TCP': { port: POD_A, packet: (i) => tcp(`10.244.1.5:${port(i)} > 10.244.2.9:80`, i) },
  'peer to pod, TCP': {
    port: d.PORT_UNDERLAY,
    packet: (i) => fromPeer(tcp(`10.244.2.9:80 > 10.244.1.5:${port(i)}`, i), [8, 0]),
  },
  'pod to peer, IPv6': { port: POD_A, packet: (i) => udp(`fd00:10:244:1::5.${port(i)} > fd00:10:244:2::9.53`) },
  'peer to pod, IPv6': {
    port: d.PORT_UNDERLAY,
    packet: (i) => fromPeer(udp(`fd00:10:244:2::9.53 > fd00:10:244:1::5.${port(i)}`), [0x86, 0xdd]),
  },
  'pod to peer, new flow': { port: POD_A, opens: true, packet: (i) => udp(`10.244.1.5:${port(i)} > 10.244.2.9:53`) },
}

function udp(flow: string): Uint8Array {
  return buildBytes(`udp ${flow} ttl ${TTL} payload 64`)
}

/** Of a stream: data, and in every other flow an acknowledgement alone. */
function tcp(flow: string, i: number): Uint8Array {
  return buildBytes(`tcp ${flow} ttl ${TTL} flags ack seq 1 ackno 1 payload ${i % 2 === 0 ? 64 : 0}`)
}

function fromPeer(bytes: Uint8Array, etherType: number[]): Uint8Array {
  return Uint8Array.from([...ENVELOPE, ...etherType, ...bytes])
}

const seconds = Number(process.argv[2])
const counters = new Float64Array(COUNTER_SLOTS)
let sent = 0
const memory = createBatchMemory()
const { arena, rx } = memory
const batch = new Batch(twoNodes(), counters, memory, (count) => {
  sent += count
})
const view = new DataView(arena.buffer)
let nowMs = 0
let nextPort = 0

/** Nanoseconds of CPU time a packet, one value a pass. */
function measure(inputs: readonly Uint8Array[], opens: boolean, forMs: number): number[] {
  const passes: number[] = []
  for (const end = performance.now() + forMs; performance.now() < end; ) {
    const begin = process.threadCpuUsage()
    for (let refresh = 0; refresh < REFRESHES; refresh++) {
      for (const [i, bytes] of inputs.entries()) arena.set(bytes, i * d.SLOT_BYTES + OFFSET)
      for (let i = 0; i < BATCHES; i++) {
        nowMs += BATCH_MS
        if (opens) renewPorts()
        batch.begin(FLOWS)
        batch.run(nowMs)
      }
    }
    // CPU time: whoever else runs does not count.
    const { user, system } = process.threadCpuUsage(begin)
    passes.push(((user + system) * 1e3) / PACKETS)
  }
  return passes
}

/** Other source ports than those of the last tens of thousands: the table has long given their places to others. */
function renewPorts(): void {
  for (let i = 0; i < FLOWS; i++) view.setUint16(i * d.SLOT_BYTES + OFFSET + ipv4.HEADER_LEN, nextPort++)
}

/** Lays down the descriptors of a case; answers its packets. */
function prepare({ port, packet }: Case): Uint8Array[] {
  const inputs = Array.from({ length: FLOWS }, (_, i) => packet(i))
  for (const [i, { length }] of inputs.entries()) {
    const at = i * d.RX_WORDS
    rx[at + d.RX_PORT] = port
    rx[at + d.RX_OFFSET] = i * d.SLOT_BYTES + OFFSET
    rx[at + d.RX_LENGTH] = length
    rx.set(PEER, at + d.RX_SRC_ADDR)
  }
  return inputs
}

// Until it is compiled, and compiled anew for what every case brings: as in a node that meets all kinds of packets.
for (const what of [...Object.values(CASES), ...Object.values(CASES)]) {
  measure(prepare(what), what.opens === true, seconds * 250)
}

const results: Record<string, number[]> = {}
for (const [name, what] of Object.entries(CASES)) {
  if (name !== (process.argv[3] ?? name)) continue
  const inputs = prepare(what)
  const before = sent
  const passes = measure(inputs, what.opens === true, seconds * 1000)
  if (sent - before !== passes.length * PACKETS) {
    const drops = [...counters].flatMap((count, i) =>
      i >= COUNT_DROPS && count > 0 ? [`${i - COUNT_DROPS}: ${count}`] : [],
    )
    throw new Error(`${name}: not every packet was delivered; drops by reason: ${drops.join(', ')}`)
  }
  results[name] = passes
}
console.log(JSON.stringify(results))
