/**
 * The addon's coalescing: packets go in as transmit descriptors to a TUN that is really a named pipe, so that exactly
 * what a device would get can be read back. What comes out, cut again by the naive model, must be what went in: every
 * packet, byte for byte, in the order of its flow.
 */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { SLOTS } from '../../daemon/dataplane/batch-memory.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import { closeFd, dataplaneCreate, dataplaneSend, dataplaneSetPort, openEvent } from '../../daemon/nic/nic.ts'
import { buildBytes } from '../support/build-packet.ts'
import { segmentNaively } from '../support/segment-model.ts'

const AT = 128
const PORT = 3
const VNET_BYTES = 10
const arena = new Uint8Array(SLOTS * d.SLOT_BYTES)
const tx = new Int32Array(SLOTS * d.TX_WORDS)
const failures = new Int32Array(d.FAIL_WORDS)
const folder = mkdtempSync(join(tmpdir(), 'polder-t'))
const fifo = join(folder, 'tun')
execFileSync('mkfifo', [fifo])
const pipe = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
// A data plane sends from at least one socket; none is used here.
const sender = openEvent()
const plane = dataplaneCreate(arena, new Int32Array(SLOTS * d.RX_WORDS), tx, failures, Int32Array.of(sender))
dataplaneSetPort(plane, PORT, pipe)

afterAll(() => {
  closeFd(pipe)
  closeFd(sender)
  rmSync(folder, { recursive: true })
})

interface Written {
  bytes: Uint8Array
  gsoSizeBytes: number
  needsChecksum: boolean
}

/** Sends all in one batch and reads what the device got. */
function write(packets: Uint8Array[]): Written[] {
  for (const [i, bytes] of packets.entries()) {
    const offset = i * d.SLOT_BYTES + AT
    const v4 = bytes[0]! >> 4 === 4
    const protocol = bytes[v4 ? 9 : 6]!
    arena.set(bytes, offset)
    const l4 = (v4 ? 20 : 40) | (protocol << 16)
    tx.set([PORT, offset, bytes.length, 0, 0, 0, 0, l4, 0, 0], i * d.TX_WORDS)
  }
  dataplaneSend(plane, packets.length)
  return read()
}

function read(): Written[] {
  const all = Buffer.alloc(1 << 20)
  let length = 0
  try {
    for (;;) length += readSync(pipe, all, length, all.length - length, null)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
  }
  const written: Written[] = []
  for (let at = 0; at < length; ) {
    const ip = at + VNET_BYTES
    const v4 = all[ip]! >> 4 === 4
    const size = v4 ? all.readUInt16BE(ip + 2) : 40 + all.readUInt16BE(ip + 4)
    written.push({
      bytes: Uint8Array.from(all.subarray(ip, ip + size)),
      gsoSizeBytes: all.readUInt16LE(at + 4),
      needsChecksum: (all[at]! & 1) !== 0,
    })
    at = ip + size
  }
  return written
}

/** Mostly the ordinary value, so that trains come about; at times another, which must end one. */
function mostly<T>(ordinary: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 15, arbitrary: fc.constant(ordinary) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  )
}

/** A sender of one flow: what it says next, and how. */
const step = fc.record({
  flow: fc.nat(3),
  payload: mostly(700, 0, 1, 300, 1000),
  flags: mostly('ack', 'ack,psh', 'ack,fin', 'syn', 'ack,ece'),
  ackno: mostly(7, 8),
  window: mostly(1000, 1001),
  ttl: mostly(64, 63),
  gap: mostly(0, 10),
  spoil: mostly(false, true),
})

it('loses nothing, adds nothing, and keeps the order of every flow', () => {
  let joined = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), (steps) => {
      const next = [0, 0, 0, 0]
      const ids = [0, 0, 0, 0]
      const packets = steps.map(({ flow, payload, flags, ackno, window, ttl, gap, spoil }, i) => {
        next[flow]! += gap
        const [src, dst] = flow % 2 ? ['fd00::5.', 'fd00::9.'] : ['10.0.0.5:', '10.0.0.9:']
        const line = `tcp ${src}${1000 + flow} > ${dst}80 payload ${payload} flags ${flags} seq ${next[flow]} seed ${i}`
        const bytes = buildBytes(`${line} ackno ${ackno} window ${window} ttl ${ttl} id ${ids[flow]!++ & 0xffff}`)
        next[flow]! += payload
        if (spoil) bytes[bytes.length - 1]! ^= 0x40
        return bytes
      })
      const written = write(packets)
      joined += packets.length - written.length
      const seen = written.flatMap(({ bytes, gsoSizeBytes, needsChecksum }) => {
        expect(needsChecksum).toBe(gsoSizeBytes > 0)
        return gsoSizeBytes > 0 ? segmentNaively(bytes, gsoSizeBytes) : [bytes]
      })
      expect(byFlow(seen)).toEqual(byFlow(packets))
      expect(failures.some(Boolean)).toBe(false)
    }),
    { numRuns: 400 },
  )
  // The property would hold where nothing is ever joined.
  expect(joined).toBeGreaterThan(200)
})

it('joins a train of one flow into one super-packet', () => {
  const packets = Array.from({ length: 40 }, (_, i) =>
    buildBytes(`tcp 10.0.0.5:1 > 10.0.0.9:2 payload ${i === 39 ? 10 : 1000} seq ${i * 1000} id ${i} seed ${i}`),
  )
  const written = write(packets)
  expect(written.map(({ gsoSizeBytes }) => gsoSizeBytes)).toEqual([1000])
  expect(written[0]!.bytes.length).toBe(40 + 39_010)
})

it('does not join what has a wrong checksum, and hands it on as it came', () => {
  const packets = [0, 1000, 2000].map((seq) => buildBytes(`tcp 10.0.0.5:1 > 10.0.0.9:2 payload 1000 seq ${seq}`))
  packets[1]![500]! ^= 1
  expect(write(packets).map(({ bytes }) => bytes)).toEqual(packets)
})

/** Of each flow its packets in order; between flows there is none. */
function byFlow(packets: Uint8Array[]): Record<string, string[]> {
  const flows: Record<string, string[]> = {}
  for (const bytes of packets) {
    const v4 = bytes[0]! >> 4 === 4
    const key = Buffer.from(bytes.subarray(v4 ? 12 : 8, v4 ? 24 : 44)).toString('hex')
    flows[key] ??= []
    flows[key].push(Buffer.from(bytes).toString('hex'))
  }
  return flows
}
