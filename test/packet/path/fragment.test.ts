/** Fragments: what a naive receiver puts together again is what was sent. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import { CHECKSUM_PARTIAL, HEADROOM_BYTES, Packet } from '../../../packet/packet.ts'
import { cut, finishChecksum, fragmentsBytes, ipPayloadBytes } from '../../../packet/path/fragment.ts'
import { parse } from '../../../packet/path/parse.ts'
import { buildBytes } from '../../support/build-packet.ts'

const OUT = 70_000

function fragmentsOf(bytes: Uint8Array, limitBytes: number): Uint8Array[] {
  const arena = new Uint8Array(OUT * 4)
  arena.set(bytes, HEADROOM_BYTES)
  const packet = new Packet(arena)
  packet.set(HEADROOM_BYTES, bytes.length)
  expect(parse(packet)).toBe(0)
  packet.fragmentBytes = limitBytes
  const out = new Packet(arena)
  out.at = OUT
  const pieces: Uint8Array[] = []
  for (let done = 0; done < ipPayloadBytes(packet); ) {
    done = cut(packet, done, out)
    pieces.push(arena.slice(out.at, out.end))
    out.at = out.end + 24
  }
  expect(out.end - OUT).toBeLessThanOrEqual(fragmentsBytes(packet))
  return pieces
}

/** Puts the payload together by offsets, as the slowest of receivers would. */
function reassemble(pieces: Uint8Array[]): { payload: Uint8Array; complete: boolean } {
  const payload = new Uint8Array(65_536)
  let end = 0
  let complete = false
  for (const piece of pieces) {
    const view = new DataView(piece.buffer)
    const offset = ipv4.fragmentOffset(view, 0) * 8
    payload.set(piece.subarray(ipv4.headerLength(view, 0)), offset)
    end = Math.max(end, offset + piece.length - ipv4.headerLength(view, 0))
    complete ||= !ipv4.moreFragments(view, 0)
  }
  return { payload: payload.slice(0, end), complete }
}

it('pieces fit, are well-formed, and give the packet back, also when cut twice', () => {
  const limits = fc.integer({ min: 68, max: 1500 })
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9000 }), limits, limits, (payload, limit, second) => {
      const bytes = buildBytes(`udp 10.244.1.5:1 > 10.244.2.9:2 payload ${payload} ipflags 0 id 77`)
      const once = fragmentsOf(bytes, limit)
      const twice = once.flatMap((piece) => (piece.length > second ? fragmentsOf(piece, second) : [piece]))
      for (const pieces of [once, twice]) {
        for (const piece of pieces) {
          const view = new DataView(piece.buffer)
          expect(ipv4.check(view, 0, piece.length) && ipv4.verifyChecksum(view, 0)).toBe(true)
          expect(ipv4.identification(view, 0)).toBe(77)
        }
        expect(reassemble(pieces)).toEqual({ payload: bytes.slice(20), complete: true })
      }
      for (const piece of once) expect(piece.length).toBeLessThanOrEqual(limit)
    }),
  )
})

it('options without the copied flag stand in the first piece only', () => {
  const plain = buildBytes('udp 10.244.1.5:1 > 10.244.2.9:2 payload 400 ipflags 0')
  // Record route (7) is not copied, the router alert (148) is; both RFC 791's kind, 4 bytes each.
  const options = [7, 4, 4, 0, 148, 4, 0, 0]
  const bytes = Uint8Array.from([...plain.slice(0, 20), ...options, ...plain.slice(20)])
  const view = new DataView(bytes.buffer)
  bytes[0] = 0x47
  ipv4.setTotalLength(view, 0, bytes.length)
  ipv4.fillChecksum(view, 0)
  const [first, ...others] = fragmentsOf(bytes, 200)
  expect([...first!.slice(20, 28)]).toEqual(options)
  expect(others.length).toBeGreaterThan(0)
  for (const piece of others) expect([piece[0], ...piece.slice(20, 24)]).toEqual([0x46, 148, 4, 0, 0])
  expect(reassemble([first!, ...others]).payload).toEqual(plain.slice(20))
})

it('a partial checksum is finished before the first cut', () => {
  const bytes = buildBytes('udp 10.244.1.5:1 > 10.244.2.9:2 payload 100')
  const packet = new Packet(bytes.slice())
  packet.set(0, bytes.length)
  const { view } = packet
  view.setUint16(26, ipv4.pseudoHeader(view, 0, 17, bytes.length - 20))
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = 20
  packet.checksumOffset = 6
  finishChecksum(packet)
  expect(packet.bytes).toEqual(bytes)
})
