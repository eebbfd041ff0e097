/**
 * A batch that one worker began and another ends: whatever packet the first dies of, be it alone, in the middle of a train
 * or the first after a flush, every packet is decided and sent once, and counted once.
 */
import { afterEach, expect, it } from 'vitest'
import { Batch } from '../../daemon/dataplane/batch.ts'
import {
  AT_BYTES,
  AT_DESCRIPTOR,
  type BatchMemory,
  createBatchMemory,
  RECEIVED,
  skipPacketAtHand,
  TRIES,
} from '../../daemon/dataplane/batch-memory.ts'
import { COUNT_PACKETS, COUNTER_SLOTS, FROM_PEER, FROM_POD } from '../../daemon/dataplane/protocol.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import { parseAddress } from '../../packet/address.ts'
import { Packet } from '../../packet/packet.ts'
import { buildBytes } from '../support/build-packet.ts'
import { POD_A, twoNodes } from '../support/two-nodes.ts'

const OFFSET = 128
const TRAIN = 4
const FROM_PODS = 3
const PACKETS = 2 * FROM_PODS + TRAIN
const ENVELOPE = Uint8Array.from([8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0])
/** The packet's number is its UDP source port. */
const FIRST_PORT = 1000

const { set } = Packet.prototype
afterEach(() => {
  Packet.prototype.set = set
})

/** Three packets from a pod, a train of four from the peer, three from the pod again. */
function fill({ arena, rx }: BatchMemory): void {
  let number = FIRST_PORT
  for (let i = 0; i < 2 * FROM_PODS + 1; i++) {
    const at = i * d.RX_WORDS
    const offset = i * d.SLOT_BYTES + OFFSET
    const train = i === FROM_PODS
    const packets = Array.from({ length: train ? TRAIN : 1 }, () => {
      const pair = train ? ['10.244.2.9', '10.244.1.5'] : ['10.244.1.5', '10.244.2.9']
      const bytes = buildBytes(`udp ${pair[0]}:${number++} > ${pair[1]}:53 payload 8`)
      return train ? [...ENVELOPE, ...bytes] : [...bytes]
    })
    arena.set(packets.flat(), offset)
    rx.fill(0, at, at + d.RX_WORDS)
    rx[at + d.RX_PORT] = train ? d.PORT_UNDERLAY : POD_A
    rx[at + d.RX_OFFSET] = offset
    rx[at + d.RX_LENGTH] = packets.flat().length
    rx[at + d.RX_SEGMENT] = train ? packets[0]!.length : 0
    rx.set(parseAddress('192.0.2.2'), at + d.RX_SRC_ADDR)
  }
}

/** Source ports of what is sent, in order. */
function sender({ arena, tx }: BatchMemory, sent: number[]): (count: number) => void {
  const view = new DataView(arena.buffer)
  return (count) => {
    for (let i = 0; i < count; i++) sent.push(view.getUint16(tx[i * d.TX_WORDS + d.TX_OFFSET]! + 20))
  }
}

/** From now on the packet that is set as number `victim` kills, so many times. */
function kill(victim: number, times: number): void {
  let left = times
  let at = -1
  let seen = 0
  Packet.prototype.set = function (offset, length) {
    if (offset !== at) seen++
    at = offset
    if (seen === victim + 1 && left-- > 0) throw new Error('killed')
    set.call(this, offset, length)
  }
}

const victims = Array.from({ length: PACKETS }, (_, i) => i)
const all = victims.map((i) => FIRST_PORT + i)

/** A batch before the one that matters, so that old descriptors lie about; then deaths until it is done. */
function live(victim: number, times: number): { sent: number[]; counters: Float64Array; memory: BatchMemory } {
  const memory = createBatchMemory()
  const counters = new Float64Array(COUNTER_SLOTS)
  const sent: number[] = []
  const tables = twoNodes()
  const worker = (): Batch => new Batch(tables, counters, memory, sender(memory, sent))
  const first = worker()
  fill(memory)
  first.begin(2 * FROM_PODS + 1)
  first.run(0)
  expect(sent.splice(0)).toEqual(all)
  counters.fill(0)
  fill(memory)
  kill(victim, times)
  first.begin(2 * FROM_PODS + 1)
  expect(() => first.run(0)).toThrow('killed')
  if (times > 1) {
    expect(() => worker().run(0)).toThrow('killed')
    expect(memory.progress[TRIES]).toBe(2)
    skipPacketAtHand(memory)
  }
  worker().run(0)
  return { sent, counters, memory }
}

it.for(victims)('the packet that killed once, number %i, is decided at the second try', (victim) => {
  const { sent, counters, memory } = live(victim, 1)
  expect(sent).toEqual(all)
  expect(counters[COUNT_PACKETS + FROM_POD]).toBe(2 * FROM_PODS)
  expect(counters[COUNT_PACKETS + FROM_PEER]).toBe(TRAIN)
  expect([memory.progress[AT_DESCRIPTOR], memory.progress[AT_BYTES]]).toEqual([memory.progress[RECEIVED], 0])
})

it.for(victims)('the packet that killed twice, number %i, is skipped, and only that', (victim) => {
  const { sent, counters } = live(victim, 2)
  expect(sent).toEqual(all.toSpliced(victim, 1))
  expect(counters[COUNT_PACKETS + FROM_POD]! + counters[COUNT_PACKETS + FROM_PEER]!).toBe(PACKETS)
})
