/**
 * Mutations that know packets: the control block of targets/path.ts, lengths, flags, fragments, extension headers,
 * addresses of the test's cluster, envelopes.
 */
import { parseAddress } from '../../packet/address.ts'
import { join } from './mutate.ts'
import type { Random } from './random.ts'

export const CONTROL_BYTES = 16
export const SET_CHECKSUM = 1
export const SET_LENGTH = 2

const ENVELOPE_BYTES = 22
const EXTENSIONS = [0, 43, 44, 51, 60]
const PROTOCOLS = [1, 6, 17, 58, 132, 50, 59, 4]
const ADDRESSES4 = [
  '10.244.1.5',
  '10.244.1.6',
  '10.244.1.1',
  '10.244.1.77',
  '10.244.2.9',
  '10.244.77.1',
  '192.0.2.1',
  '192.0.2.2',
  '198.51.100.7',
  '127.0.0.1',
  '0.0.0.0',
  '224.0.0.1',
  '255.255.255.255',
].map((text) => parseAddress(text)[3])
const ADDRESSES6 = [
  'fd00:10:244:1::5',
  'fd00:10:244:1::6',
  'fd00:10:244:1::1',
  'fd00:10:244:2::9',
  'fd00:10:244:77::1',
  '2001:db8::1',
  'fe80::1',
  'ff02::1',
  '::1',
  '::ffff:10.244.1.5',
].map((text) => parseAddress(text))

type Change = (input: Uint8Array, ip: number, random: Random) => Uint8Array

const lengths = [1, 20, 28, 40, 576, 1280, 1450, 1451, 2000, 9000, 65_535]

const controls: Change = (input, _, random) => {
  const view = viewOf(input)
  const which = random.below(9)
  if (which === 0) view.setUint8(0, random.below(5))
  else if (which === 1) view.setUint8(1, random.below(16))
  else if (which === 2) view.setUint8(2, random.below(8))
  else if (which === 3) view.setUint16(3, random.pick(lengths))
  else if (which === 4) view.setUint16(5, random.pick([0, 8, 12, 20, 24, 40, 48, random.below(120)]))
  else if (which === 5) view.setUint16(7, random.pick([0, 2, 6, 10, 12, 16, random.below(60)]))
  else if (which === 6) view.setUint8(9, random.below(256))
  else if (which === 7) view.setUint16(random.pick([10, 12]), random.pick(lengths))
  else view.setUint8(14, random.below(4))
  return input
}

/** Version and header length, fragment fields, TTL, protocol. */
const header4: Change = (input, ip, random) => {
  if (input.length < ip + 20) return input
  const view = viewOf(input)
  const which = random.below(5)
  if (which === 0) view.setUint8(ip, 0x40 | random.below(16))
  else if (which === 1) view.setUint16(ip + 6, random.pick([0, 0x2000, 0x4000, 0x6000, 0x2001, 1, 185, 0x1fff, 0x8000]))
  else if (which === 2) view.setUint8(ip + 8, random.below(3))
  else if (which === 3) view.setUint8(ip + 9, random.pick(PROTOCOLS))
  else view.setInt32(ip + 12 + 4 * random.below(2), random.pick(ADDRESSES4))
  return input
}

const header6: Change = (input, ip, random) => {
  if (input.length < ip + 40) return input
  const view = viewOf(input)
  const which = random.below(4)
  if (which === 0) view.setUint8(ip + 6, random.pick([...EXTENSIONS, ...PROTOCOLS]))
  else if (which === 1) view.setUint8(ip + 7, random.pick([0, 1, 2, 64, 255]))
  else if (which === 2) {
    const words = random.pick(ADDRESSES6)
    const at = ip + 8 + 16 * random.below(2)
    for (let i = 0; i < 4; i++) view.setInt32(at + 4 * i, words[i]!)
  } else return addExtension(input, ip, random)
  return input
}

/** One more extension header, whole, between the IPv6 header and what followed it. */
function addExtension(input: Uint8Array, ip: number, random: Random): Uint8Array {
  const kind = random.pick(EXTENSIONS)
  const units = kind === 44 ? 0 : random.below(3)
  const extension = new Uint8Array(8 + units * 8)
  extension[0] = input[ip + 6]!
  extension[1] = kind === 51 ? units * 2 : units
  if (kind === 44) extension.set([random.pick([0, 0, 0x10]), random.pick([0, 1, 8, 9])], 2)
  input[ip + 6] = kind
  return join(input.subarray(0, ip + 40), extension, input.subarray(ip + 40))
}

/** Options, with and without the flag that has them copied into fragments. */
function addOptions(input: Uint8Array, ip: number, random: Random): Uint8Array {
  const words = (input[ip]! & 15) + 1
  if (words > 15) return input
  input[ip] = 0x40 | words
  const option = random.pick([
    [0x94, 4, 0, 0],
    [7, 4, 4, 0],
    [1, 1, 1, 0],
    [0x83, 3, 4, 1],
    [0x94, 0, 0, 0],
    [7, 40, 0, 0],
  ])
  return join(input.subarray(0, ip + 20), Uint8Array.from(option), input.subarray(ip + 20))
}

const transport: Change = (input, ip, random) => {
  const at = ip + (input[ip]! >> 4 === 6 ? 40 : (input[ip]! & 15) * 4)
  if (input.length < at + 20) return input
  const view = viewOf(input)
  if (random.below(2) === 0) view.setUint8(at + 12, random.below(16) << 4)
  else view.setUint16(at + random.pick([0, 2, 4, 6, 16]), random.pick([0, 8, 20, 0xffff, random.below(65536)]))
  return input
}

/** In or out of a VXLAN envelope, with the entrance that goes with it. */
const envelop: Change = (input, ip, random) => {
  if (ip > CONTROL_BYTES) {
    input[0] = random.below(3)
    return join(input.subarray(0, CONTROL_BYTES), input.subarray(ip))
  }
  input[0] = 3
  const type = random.pick([0x0800, 0x86dd, input[ip]! >> 4 === 6 ? 0x86dd : 0x0800, 0x0806])
  const envelope = [8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 255]
  return join(input.subarray(0, CONTROL_BYTES), Uint8Array.from(envelope), input.subarray(CONTROL_BYTES))
}

export function mutatePacket(input: Uint8Array, random: Random): Uint8Array {
  let bytes = input
  for (let steps = 1 + random.below(3); steps > 0; steps--) {
    const ip = CONTROL_BYTES + (bytes[0]! % 5 >= 3 ? ENVELOPE_BYTES : 0)
    if (bytes.length <= ip) return bytes
    const which = random.below(12)
    if (which < 4) bytes = controls(bytes, ip, random)
    else if (which < 8) bytes = (bytes[ip]! >> 4 === 6 ? header6 : header4)(bytes, ip, random)
    else if (which < 10) bytes = transport(bytes, ip, random)
    else if (which === 10) bytes = envelop(bytes, ip, random)
    else if (bytes[ip]! >> 4 === 4 && bytes.length >= ip + 20) bytes = addOptions(bytes, ip, random)
  }
  return bytes
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}
