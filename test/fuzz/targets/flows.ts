/**
 * Conversations as somebody hostile leads them: an input is a sequence of packets, eight bytes each, through the
 * entrances of one node with a flow table of sixteen flows. Whatever came before, each packet has the verdict that a
 * node without a memory gives it (but where the table is full), and in the end the table is whole.
 *
 *   0 who sends to whom, or time passes   1 kind   2 ports   3 TCP flags   4 sequence number   6 acknowledgement
 */

import { FlowKey } from '../../../packet/flow-key.ts'
import { Packet } from '../../../packet/packet.ts'
import { DROP_FLOW_TABLE_FULL } from '../../../packet/path/drop-reason.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { drop, type Verdict } from '../../../packet/path/verdict.ts'
import * as l from '../../../packet/tables/flow-layout.ts'
import { flowsInMemory } from '../../../packet/tables/flow-recovery.ts'
import { type FlowTable, isLive, NO_FLOW, readTuple } from '../../../packet/tables/flows.ts'
import { openFlowMemory, type Tables } from '../../../packet/tables/tables.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { envelopeBytes } from '../../support/envelope.ts'
import { describeVerdict, POD_A, POD_B, twoNodes } from '../../support/two-nodes.ts'
import type { Target } from '../target.ts'

const FLOWS = 16
const STEP_BYTES = 8
const STEPS_MAX = 60
const AT = 64
const TIMES_S = [0, 1, 11, 31, 61, 121, 301, 90_000]

type Enter = (packet: Packet, tables: Tables) => Verdict
const A: Enter = (packet, tables) => fromPod(packet, POD_A, tables)
const B: Enter = (packet, tables) => fromPod(packet, POD_B, tables)
const PEER: Enter = (packet, tables) => fromPeer(packet, 0, tables)
const HOST: Enter = (packet, tables) => fromHost(packet, tables)

/** Who sends, from which address, to which: the last ones lie. */
const WAYS: [enter: Enter, src: string, dst: string][] = [
  [A, '10.244.1.5', '10.244.1.6'],
  [B, '10.244.1.6', '10.244.1.5'],
  [A, '10.244.1.5', '10.244.2.9'],
  [PEER, '10.244.2.9', '10.244.1.5'],
  [HOST, '198.51.100.7', '10.244.1.5'],
  [A, '10.244.1.5', '10.244.1.1'],
  [HOST, '10.244.1.1', '10.244.1.5'],
  [A, 'fd00:10:244:1::5', 'fd00:10:244:2::9'],
  [PEER, 'fd00:10:244:2::9', 'fd00:10:244:1::5'],
  [B, '10.244.1.5', '10.244.2.9'],
  [B, '10.244.1.5', '10.244.1.6'],
  [PEER, '10.244.1.6', '10.244.1.5'],
  [HOST, '10.244.2.9', '10.244.1.5'],
  [B, 'fd00:10:244:1::5', 'fd00:10:244:2::9'],
]
/** Which of them go the other way, so that they belong to the same flows. */
const ANSWERS = [1, 3, 6, 8, 11, 12]
const KINDS = ['tcp', 'udp', 'icmp', 'first', 'later', 'reply', 'error', 'tcp']

const built = new Map<string, Uint8Array>()

/** One of few packets, made once. */
function packetFor(way: number, kind: number, port: number): Uint8Array {
  const key = `${way} ${kind} ${port}`
  const known = built.get(key)
  if (known !== undefined) return known
  const [enter, src, dst] = WAYS[way]!
  const v6 = src.includes(':')
  const [p, q] = ANSWERS.includes(way) ? [80, 1000 + port] : [1000 + port, 80]
  const ends = (what: string, more = '') =>
    buildBytes(v6 ? `${what} ${src}.${p} > ${dst}.${q} ${more}` : `${what} ${src}:${p} > ${dst}:${q} ${more}`)
  const name = KINDS[kind]!
  let bytes = name === 'tcp' || name === 'udp' ? ends(name, 'payload 8') : buildBytes(`icmp ${src} > ${dst} payload 40`)
  if (name === 'first' && !v6) bytes = ends('udp', 'ipflags 1 id 7 payload 16')
  if (name === 'later' && !v6) bytes = buildBytes(`udp ${src}:0 > ${dst}:0 fragment 3 id 7 payload 16`)
  const l4 = v6 ? 40 : 20
  if (name === 'reply') bytes[l4] = v6 ? 129 : 0
  if (name === 'error') {
    // About a packet the other way, as a router on the way would quote it.
    bytes[l4] = v6 ? 1 : 3
    const quoted = buildBytes(v6 ? `udp ${dst}.${q} > ${src}.${p}` : `udp ${dst}:${q} > ${src}:${p}`)
    bytes = Uint8Array.of(...bytes.subarray(0, l4 + 8), ...quoted)
    new DataView(bytes.buffer).setUint16(v6 ? 4 : 2, v6 ? bytes.length - 40 : bytes.length)
    if (!v6) mend(bytes)
  }
  if (enter === PEER) bytes = envelopeBytes(bytes)
  built.set(key, bytes)
  return bytes
}

function mend(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer)
  view.setUint16(10, 0)
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i)
  sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)))
}

const arena = new Uint8Array(1024)
const slot = new Packet(arena)
const remembering = twoNodes()
/** Room for one flow, which is closed after every packet. */
const forgetful = { ...remembering, ...openFlowMemory(flowsInMemory(1)) }

function decide(enter: Enter, bytes: Uint8Array, tables: Tables): Verdict {
  arena.set(bytes, AT)
  slot.set(AT, bytes.length)
  return enter(slot, tables)
}

function run(input: Uint8Array): string {
  const flows = flowsInMemory(FLOWS)
  // A memory of fragments is large to make, and most inputs have none.
  const tables = { ...remembering, ...(hasFragments(input) ? openFlowMemory(flows) : { flows }) }
  let nowMs = 1_000_000
  let full = 0
  tables.flows.tick(nowMs)
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  for (let at = 0; at + STEP_BYTES <= input.length && at < STEPS_MAX * STEP_BYTES; at += STEP_BYTES) {
    const who = input[at]! & 15
    if (who >= WAYS.length) {
      nowMs += TIMES_S[input[at + 1]! & 7]! * 1000
      tables.flows.tick(nowMs)
      continue
    }
    const kind = input[at + 1]! % KINDS.length
    const [enter] = WAYS[who]!
    const bytes = packetFor(who, kind, input[at + 2]! & 31).slice()
    if (KINDS[kind] === 'tcp') {
      const l4 = (enter === PEER ? 22 : 0) + (WAYS[who]![1].includes(':') ? 40 : 20)
      const packet = new DataView(bytes.buffer)
      packet.setInt32(l4 + 4, view.getInt16(at + 4) << ((input[at + 2]! >> 5) << 1))
      packet.setInt32(l4 + 8, view.getInt16(at + 6))
      packet.setUint8(l4 + 13, input[at + 3]!)
    }
    const verdict = decide(enter, bytes, tables)
    const expected = decide(enter, bytes, forgetful)
    forgetful.flows.close(0)
    forgetful.flows.forgetDecisions()
    if (verdict === drop(DROP_FLOW_TABLE_FULL)) full++
    else if (verdict !== expected)
      throw new Error(`${describeVerdict(verdict)}, without a memory ${describeVerdict(expected)}`)
  }
  return `${checkTable(tables.flows)} flows${full > 0 ? ', full' : ''}`
}

function hasFragments(input: Uint8Array): boolean {
  for (let at = 1; at < input.length; at += STEP_BYTES) {
    if (['first', 'later'].includes(KINDS[input[at]! % KINDS.length]!)) return true
  }
  return false
}

/** Every live flow is found from both sides, and live and free entries are all there are. Answers how many live. */
function checkTable(flows: FlowTable): number {
  const { words } = flows
  const key = new FlowKey()
  let live = 0
  for (let entry = 0; entry < words[l.H_HIGH_WATER]!; entry++) {
    const at = flows.at(entry << 1)
    if (!isLive(words, at)) continue
    live++
    if (words[at + l.EXPIRES]! <= flows.now) continue
    for (const direction of [0, 1]) {
      readTuple(words, at + direction * l.TUPLE_WORDS, key)
      const found = flows.find(key)
      if (found === NO_FLOW || found >> 1 !== entry)
        throw new Error(`flow ${entry} is not found by its tuple ${direction}`)
    }
  }
  let free = 0
  for (let next = words[l.H_FREE]!; next !== 0 && free <= FLOWS; next = words[flows.at((next - 1) << 1) + l.NEXT]!)
    free++
  if (flows.size !== live) throw new Error(`counts ${flows.size} flows of ${live}`)
  if (live + free !== words[l.H_HIGH_WATER])
    throw new Error(`${live} live and ${free} free of ${words[l.H_HIGH_WATER]}`)
  if (words[l.H_MUTATING] !== 0) throw new Error('left in the middle of a change')
  return live
}

const step = (...bytes: number[]): number[] => [...bytes, ...new Array<number>(STEP_BYTES - bytes.length).fill(0)]
const HANDSHAKE = [...step(2, 0, 0, 2, 0, 1), ...step(3, 0, 0, 18, 0, 9, 0, 2), ...step(2, 0, 0, 16, 0, 2, 0, 10)]

export const flows: Target = {
  name: 'flows',
  watches: /\/packet\/(path|tables|flow-key)/,
  seeds: [
    Uint8Array.from(HANDSHAKE),
    Uint8Array.from([...HANDSHAKE, ...step(3, 0, 0, 4, 0x40, 0), ...step(15, 3), ...step(2, 0, 0, 17, 0, 2, 0, 10)]),
    Uint8Array.from([...step(0, 1, 1), ...step(1, 1, 1), ...step(0, 1, 1), ...step(9, 1, 1), ...step(15, 4)]),
    Uint8Array.from([...step(2, 3), ...step(2, 4), ...step(9, 4), ...step(3, 6), ...step(4, 2), ...step(0, 5)]),
    Uint8Array.from(Array.from({ length: 24 }, (_, i) => step(i % 2, 1, i)).flat()),
  ],
  bytesMax: STEPS_MAX * STEP_BYTES,
  mutate(input, random) {
    const steps = Math.max(1, Math.floor(input.length / STEP_BYTES))
    const at = random.below(steps) * STEP_BYTES
    const piece = input.subarray(at, at + STEP_BYTES * (1 + random.below(4)))
    const which = random.below(4)
    if (which === 0) return Uint8Array.of(...input, ...piece)
    if (which === 1) return Uint8Array.of(...input.subarray(0, at), ...input.subarray(at + piece.length))
    if (which === 2) return Uint8Array.of(...input.subarray(0, at), ...piece, ...input.subarray(at))
    const one = [
      random.below(16),
      random.below(8),
      random.below(256),
      random.pick([2, 18, 16, 17, 4, 20, random.below(256)]),
    ]
    const numbers = Array.from({ length: 4 }, () => random.pick([0, 0, 1, 2, 9, 10, 0x7f, 0x80, 0xff]))
    return Uint8Array.of(
      ...input.subarray(0, at),
      ...one,
      ...numbers,
      ...input.subarray(at + random.pick([0, STEP_BYTES])),
    )
  },
  run,
}
