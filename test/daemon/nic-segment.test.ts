/**
 * The addon's segmentation against the naive one: super-packets go in as transmit descriptors, and what comes out of a
 * UDP socket on the loopback is compared byte for byte.
 */
import dgram from 'node:dgram'
import { once } from 'node:events'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SLOTS } from '../../daemon/dataplane/batch-memory.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import { closeFd, dataplaneCreate, dataplaneSend, dataplaneSetPeers, openUnderlay } from '../../daemon/nic/nic.ts'
import { parseAddress } from '../../packet/address.ts'
import { GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../../packet/packet.ts'
import { buildBytes } from '../support/build-packet.ts'
import { segmentNaively } from '../support/segment-model.ts'

const AT = 128
const ENVELOPE = Uint8Array.from({ length: 22 }, (_, i) => i + 1)
const loopback = Uint8Array.from([127, 0, 0, 1])
const arena = new Uint8Array(SLOTS * d.SLOT_BYTES)
const rx = new Int32Array(SLOTS * d.RX_WORDS)
const tx = new Int32Array(SLOTS * d.TX_WORDS)
const failures = new Int32Array(d.FAIL_WORDS)
const sender = openUnderlay(loopback, 0, 0)
const plane = dataplaneCreate(arena, rx, tx, failures, Int32Array.of(sender))
const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })

beforeAll(async () => {
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  dataplaneSetPeers(plane, Int32Array.of(...parseAddress('127.0.0.1'), socket.address().port), 1)
})

afterAll(() => {
  socket.close()
  closeFd(sender)
})

interface Input {
  bytes: Uint8Array
  gsoSizeBytes: number
  /** Whether the transport checksum is left for the addon. */
  partial: boolean
}

/** Sends all in one batch; resolves to the datagrams without their envelope. */
async function send(inputs: Input[], expected: number): Promise<Uint8Array[]> {
  for (const [i, input] of inputs.entries()) {
    const offset = i * d.SLOT_BYTES + AT
    const v4 = input.bytes[0]! >> 4 === 4
    const l4 = v4 ? 20 : 40
    const tcp = input.bytes[v4 ? 9 : 6] === 6
    arena.set(ENVELOPE, offset - ENVELOPE.length)
    arena.set(input.bytes, offset)
    if (input.partial) leavePartial(arena.subarray(offset, offset + input.bytes.length), l4, tcp)
    const gso = input.gsoSizeBytes === 0 ? GSO_NONE : tcp ? (v4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_UDP_L4
    const descriptor = [d.PORT_UNDERLAY, offset, input.bytes.length, (input.partial ? 1 : 0) | (gso << 8)]
    descriptor.push(input.gsoSizeBytes, l4 | ((tcp ? 16 : 6) << 16), 0, l4 | ((tcp ? 6 : 17) << 16), 5, 0)
    tx.set(descriptor, i * d.TX_WORDS)
  }
  const datagrams: Uint8Array[] = []
  const complete = new Promise<void>((resolve) => {
    socket.removeAllListeners('message')
    socket.on('message', (datagram) => {
      expect(datagram.subarray(0, 22)).toEqual(Buffer.from(ENVELOPE))
      datagrams.push(Uint8Array.from(datagram.subarray(22)))
      if (datagrams.length === expected) resolve()
    })
  })
  dataplaneSend(plane, inputs.length)
  await complete
  return datagrams
}

/** What a pod's stack hands over: the field holds the uncomplemented pseudo-header sum. */
function leavePartial(ip: Uint8Array, l4: number, tcp: boolean): void {
  const v4 = l4 === 20
  const words = [...ip.subarray(v4 ? 12 : 8, l4), 0, tcp ? 6 : 17, (ip.length - l4) >> 8, (ip.length - l4) & 255]
  let sum = 0
  for (let i = 0; i < words.length; i += 2) sum += (words[i]! << 8) | words[i + 1]!
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  new DataView(ip.buffer, ip.byteOffset).setUint16(l4 + (tcp ? 16 : 6), sum)
}

const endpoints = fc.constantFrom(
  ['10.244.1.5:1000 > 10.244.2.9:80', 20],
  ['fd00:10:244:1::5.1000 > fd00:10:244:2::9.80', 40],
)
const flags = fc.constantFrom('ack', 'ack,psh', 'ack,fin', 'ack,psh,cwr', 'ack,ece')
const packet = fc.record({
  endpoints,
  protocol: fc.constantFrom('tcp', 'udp'),
  flags,
  id: fc.nat(0xffff),
  seq: fc.nat(0x7fffffff),
  payload: fc.integer({ min: 1, max: 20_000 }),
  gsoSizeBytes: fc.integer({ min: 500, max: 1400 }),
})

it('cuts super-packets as the naive model does, whatever stands in their headers', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(packet, { minLength: 1, maxLength: 8 }), async (packets) => {
      const inputs = packets.map((one) => {
        const more = one.protocol === 'tcp' ? `flags ${one.flags} seq ${one.seq}` : ''
        const line = `${one.protocol} ${one.endpoints[0]} id ${one.id} payload ${one.payload} ${more}`
        const gsoSizeBytes = one.payload > one.gsoSizeBytes ? one.gsoSizeBytes : 0
        return { bytes: buildBytes(line), gsoSizeBytes, partial: true }
      })
      const expected = inputs.flatMap(({ bytes, gsoSizeBytes }) => segmentNaively(bytes, gsoSizeBytes || bytes.length))
      expect(await send(inputs, expected.length)).toEqual(expected)
      expect(failures.some(Boolean)).toBe(false)
    }),
    { numRuns: 200 },
  )
})

it('sends many small packets of one flow in their order, whole', async () => {
  const inputs = Array.from({ length: 40 }, (_, i) => ({
    bytes: buildBytes(`udp 10.244.1.5:1000 > 10.244.2.9:80 payload ${i % 7 === 0 ? 30 : 64} seed ${i}`),
    gsoSizeBytes: 0,
    partial: i % 2 === 0,
  }))
  expect(await send(inputs, 40)).toEqual(inputs.map(({ bytes }) => bytes))
})

it.each([
  ['a gso size of nothing', { 4: 0, 3: 1 | (GSO_TCPV4 << 8) }],
  ['a transport header outside the packet', { 7: 5000 | (6 << 16) }],
  ['another protocol than the kind of super-packet says', { 7: 20 | (17 << 16) }],
])('refuses %s by name', (_, spoiled) => {
  const bytes = buildBytes('tcp 10.244.1.5:1000 > 10.244.2.9:80 payload 3000')
  arena.set(bytes, AT)
  tx.set([d.PORT_UNDERLAY, AT, bytes.length, 1 | (GSO_TCPV4 << 8), 1000, 20 | (16 << 16), 0, 20 | (6 << 16), 0, 0])
  for (const [word, value] of Object.entries(spoiled)) tx[Number(word)] = value
  failures.fill(0)
  dataplaneSend(plane, 1)
  expect(failures[d.FAIL_MALFORMED]).toBe(1)
})
