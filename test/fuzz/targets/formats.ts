/**
 * The contract of every header format: check() answers for any bytes; where it says yes, every accessor answers and reads
 * nothing behind the end (the view ends where the bytes end, so it would throw), and write(read()) changes no byte.
 * The first byte of an input says which format.
 */
import * as arp from '../../../packet/formats/arp.ts'
import * as ethernet from '../../../packet/formats/ethernet.ts'
import * as icmp from '../../../packet/formats/icmp.ts'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import * as sctp from '../../../packet/formats/sctp.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import * as vxlan from '../../../packet/formats/vxlan.ts'
import { fromHex } from '../../support/hex.ts'
import type { Target } from '../target.ts'

/** Not a multiple of anything: DataView must not care about alignment. */
const AT = 3

interface Format {
  check(view: DataView, at: number, end: number): boolean
  read(view: DataView, at: number): object
  write(view: DataView, at: number, fields: object): void
}

const FORMATS: [name: string, format: object, sample: string][] = [
  ['ethernet', ethernet, '00163e0871cf36dc851eb3400800'],
  ['arp', arp, '00010800060400010030880100 02c0a8cb05000000000000c0a8cb03'],
  ['ipv4', ipv4, '4600001800000000010200000a000001e000001694040000'],
  ['ipv6', ipv6, `6000000000102c40${'00'.repeat(32)}3c0000010000002a0600000000000000`],
  ['tcp', tcp, '90eba24b72c5d5789bd3a673801800a69ec800000101080add7e04af35a5fd46'],
  ['udp', udp, 'ebb912b5000a37fc0102'],
  ['sctp', sctp, '80459000000000007856341201000014'],
  ['icmp', icmp, '0800f6f2050c0001'],
  ['icmpv6', icmpv6, '80001234050c0001'],
  ['vxlan', vxlan, '0800000000006400'],
]

const NO_ACCESSOR = /^(set|init|fill|decrement|read$|write$|check|walk$|pseudoHeader$|fragmentIdentification$)/
const accessors = FORMATS.map(([, format]) =>
  Object.entries(format as Record<string, (view: DataView, at: number) => unknown>).filter(
    ([name, value]) => typeof value === 'function' && value.length === 2 && !NO_ACCESSOR.test(name),
  ),
)
const upper = ipv6.upperLayer()

function run(input: Uint8Array): string {
  const index = (input[0] ?? 0) % FORMATS.length
  const [name, module] = FORMATS[index]!
  const format = module as Format
  const room = new Uint8Array(AT + Math.max(0, input.length - 1))
  room.set(input.subarray(1), AT)
  const view = new DataView(room.buffer)
  if (!format.check(view, AT, room.length)) return `${name} refused`
  for (const [accessor, get] of accessors[index]!) {
    const value = get(view, AT)
    if (typeof value !== 'boolean' && !Number.isInteger(value)) throw new Error(`${name}.${accessor}: ${value}`)
  }
  const again = room.slice()
  format.write(new DataView(again.buffer), AT, format.read(view, AT))
  if (Buffer.compare(again, room) !== 0) throw new Error(`${name}: write(read()) is not the same`)
  if (module === ipv6) return walk(view, room.length)
  if (module === tcp || module === udp || module === sctp) {
    return `${name} ${(module as typeof tcp).verifyChecksum(view, AT, room.length, 0)}`
  }
  return name
}

function walk(view: DataView, end: number): string {
  const packetEnd = AT + ipv6.totalLength(view, AT)
  if (!ipv6.walk(view, AT, packetEnd, upper)) return 'ipv6 broken chain'
  if (upper.offset < AT + ipv6.HEADER_LEN || upper.offset > packetEnd || packetEnd > end) throw new Error('walked out')
  if (upper.fragmentAt === 0) return 'ipv6'
  return `ipv6 fragment ${Number.isInteger(ipv6.fragmentIdentification(view, upper.fragmentAt))}`
}

export const formats: Target = {
  name: 'formats',
  watches: /\/packet\/formats\//,
  seeds: FORMATS.map(([, , sample], index) => Uint8Array.of(index, ...fromHex(sample))),
  bytesMax: 200,
  run,
}
