/**
 * Run as a process of its own, with --expose-gc and a young generation too large to be collected: pushes a million
 * packets through the batch, every entrance and verdict among them, and prints by how many bytes the heap grew.
 */

import { Batch } from '../../daemon/dataplane/batch.ts'
import { createBatchMemory } from '../../daemon/dataplane/batch-memory.ts'
import { COUNTER_SLOTS, FROM_HOST, FROM_PEER, FROM_POD } from '../../daemon/dataplane/protocol.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import { parseAddress } from '../../packet/address.ts'
import { buildBytes } from './build-packet.ts'
import { POD_A, twoNodes } from './two-nodes.ts'

const PACKETS = 1_000_000
const OFFSET = 128
const ENVELOPE = Uint8Array.from([8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0])

const tables = twoNodes()
const counters = new Float64Array(COUNTER_SLOTS)
const { arena, rx, ...rest } = createBatchMemory()
const batch = new Batch(tables, counters, { arena, rx, ...rest }, () => {})

const inputs: { port: number; bytes: Uint8Array }[] = [
  { port: POD_A, bytes: buildBytes('udp 10.244.1.5:1000 > 10.244.2.9:53 payload 64') },
  { port: POD_A, bytes: buildBytes('tcp 10.244.1.5:1000 > 10.244.1.6:80 payload 64') },
  { port: POD_A, bytes: buildBytes('udp fd00:10:244:1::5.1000 > fd00:10:244:2::9.53 payload 64') },
  { port: POD_A, bytes: buildBytes('udp 10.244.1.5:1000 > 198.51.100.1:53') },
  { port: POD_A, bytes: buildBytes('udp 10.244.1.9:1000 > 10.244.2.9:53') },
  { port: POD_A, bytes: Uint8Array.from([0x45, 1, 2, 3]) },
  { port: d.PORT_HOST, bytes: buildBytes('icmp 10.244.1.1 > 10.244.1.5') },
  { port: d.PORT_UNDERLAY, bytes: join(ENVELOPE, buildBytes('tcp 10.244.2.9:80 > 10.244.1.5:1000 payload 64')) },
  { port: d.PORT_UNDERLAY, bytes: join(ENVELOPE, buildBytes('udp 10.244.2.9:80 > 10.244.1.77:1000')) },
]
const peer = parseAddress('192.0.2.2')
for (const [i, { port, bytes }] of inputs.entries()) {
  const at = i * d.RX_WORDS
  rx[at + d.RX_PORT] = port
  rx[at + d.RX_OFFSET] = i * d.SLOT_BYTES + OFFSET
  rx[at + d.RX_LENGTH] = bytes.length
  rx.set(peer, at + d.RX_SRC_ADDR)
}

let nowMs = 0

function turn(): void {
  // The path rewrites what it delivers: every turn begins with fresh bytes.
  for (let i = 0; i < inputs.length; i++) arena.set(inputs[i]!.bytes, i * d.SLOT_BYTES + OFFSET)
  batch.begin(inputs.length)
  batch.run(nowMs++)
}

const turns = Math.ceil(PACKETS / inputs.length)
// Until nothing is compiled any more: the compiler allocates too.
for (let i = 0; i < turns; i++) turn()
globalThis.gc!()
const before = process.memoryUsage().heapUsed
for (let i = 0; i < turns; i++) turn()
const grown = process.memoryUsage().heapUsed - before
const seen = [FROM_POD, FROM_PEER, FROM_HOST].map((entrance) => counters[entrance]!)
console.log(JSON.stringify({ grown, packets: turns * inputs.length, seen }))

function join(head: Uint8Array, tail: Uint8Array): Uint8Array {
  return Uint8Array.from([...head, ...tail])
}
