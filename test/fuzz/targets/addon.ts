/**
 * The addon's segmentation, coalescing and sending under sanitizers (test/fuzz/c/addon.c). An input is a byte that says
 * what the kernel refuses, and for each packet twelve bytes about it and its bytes:
 *
 *   0 port   1 checksum and kind of super-packet   2 gso size   4 checksum start and offset   6 transport's offset
 *   7 protocol   8 length to fill up to   10 bytes given   11 peer, socket, TOS
 */
import { buildBytes } from '../../support/build-packet.ts'
import { join as concat } from '../mutate.ts'
import type { Random } from '../random.ts'
import type { Target } from '../target.ts'
import { build, nodeHeaders, Program } from './c-program.ts'

/** What sends; the rest talks to Node or to the kernel only. */
const SOURCES = ['checksum', 'coalesce', 'segment', 'transmit'].map((name) => `daemon/nic/addon/${name}.c`)
const BLOCK_BYTES = 12
const UNDERLAY = 1

interface Described {
  port?: number
  flags?: number
  gsoSize?: number
  length?: number
}

function packet(line: string, { port = UNDERLAY, flags = 0, gsoSize = 0, length = 0 }: Described = {}): Uint8Array {
  const bytes = buildBytes(line)
  const l4 = bytes[0]! >> 4 === 6 ? 40 : 20
  const protocol = bytes[l4 === 40 ? 6 : 9]!
  const offset = protocol === 6 ? 16 : 6
  const block = [port, flags, gsoSize & 255, gsoSize >> 8, l4, offset, l4, protocol, length & 255, length >> 8]
  return Uint8Array.of(...block, bytes.length, 0, ...bytes)
}

const tcp = (seq: number, more = ''): string =>
  `tcp 10.244.2.9:80 > 10.244.1.5:1000 flags ack seq ${seq} payload 20 ${more}`
const udp6 = 'udp fd00:10:244:1::5.1000 > fd00:10:244:2::9.80 payload 16'

const SEEDS = [
  concat(Uint8Array.of(0), packet(tcp(1), { port: 3 }), packet(tcp(21), { port: 3 }), packet(tcp(41), { port: 3 })),
  concat(Uint8Array.of(0), packet(udp6, { port: 3 }), packet(udp6, { port: 3 }), packet(tcp(9), { port: 5 })),
  concat(Uint8Array.of(0), packet(tcp(1), { flags: 0x11, gsoSize: 1000, length: 9000 })),
  concat(Uint8Array.of(2), packet(udp6, { flags: 0x51, gsoSize: 500, length: 5000 }), packet(udp6)),
  concat(Uint8Array.of(1), packet(udp6), packet(udp6), packet(udp6, { flags: 1 })),
]

function mutateBlock(input: Uint8Array, random: Random): Uint8Array {
  const starts: number[] = []
  for (let at = 1; at + BLOCK_BYTES <= input.length; at += BLOCK_BYTES + input[at + 10]!) starts.push(at)
  if (starts.length === 0) return input
  const at = random.pick(starts)
  const whole = input.subarray(at, at + BLOCK_BYTES + input[at + 10]!)
  const which = random.below(8)
  if (which < 2) return concat(input, whole)
  if (which === 2) return concat(input, ...Array.from({ length: 20 }, () => whole))
  // The next segment of the same flow.
  if (which === 3 && whole.length >= BLOCK_BYTES + 40 && whole[7] === 6) {
    const next = whole.slice()
    const field = BLOCK_BYTES + next[6]! + 7
    if (field < next.length) next[field]! += next.length - BLOCK_BYTES - next[6]! - 20
    return concat(input, next)
  }
  const sizes = [0, 1, 7, 8, 48, 500, 1398, 1400, 9000, 62_000, 65_535]
  if (which === 4) input.set([random.pick(sizes) & 255, random.pick(sizes) >> 8], at + 2)
  else if (which === 5) input.set([random.pick(sizes) & 255, random.pick(sizes) >> 8], at + 8)
  else if (which === 6) input[at + 1] = random.pick([0, 1, 0x10, 0x11, 0x41, 0x51, 0x91, 0xc1])
  else input[at + random.below(BLOCK_BYTES)] = random.below(256)
  return input
}

export async function openAddon(): Promise<Target> {
  const wrapped = ['-Wl,--wrap=sendmsg', '-Wl,--wrap=writev']
  const program = new Program(build({ name: 'addon', sources: SOURCES, flags: [nodeHeaders(), ...wrapped] }))
  return {
    name: 'addon',
    seeds: SEEDS,
    bytesMax: 4000,
    mutate: mutateBlock,
    run: (input) => program.run(input),
    reset: () => program.end(),
    close: () => program.end(),
  }
}
