/**
 * Reads classic pcap files (draft-ietf-opsawg-pcap): both byte orders, fractions in microseconds or nanoseconds. Not
 * pcapng. Throws on anything else and on a file that ends in the middle of a packet.
 */
import { readFileSync } from 'node:fs'

export const LINKTYPE_ETHERNET = 1
export const LINKTYPE_RAW = 101

export interface CapturedPacket {
  /** Seconds since 1970, with the fraction. */
  timestamp: number
  linktype: number
  bytes: Uint8Array
}

const FILE_HEADER_LEN = 24
const PACKET_HEADER_LEN = 16
const MAGIC_MICROSECONDS = 0xa1b2c3d4
const MAGIC_NANOSECONDS = 0xa1b23c4d

export function readPcap(path: string): CapturedPacket[] {
  return parsePcap(readFileSync(path), path)
}

export function parsePcap(file: Uint8Array, name = 'capture'): CapturedPacket[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (file.byteLength < FILE_HEADER_LEN) throw new Error(`${name}: too short for a pcap file`)
  const little = isMagic(view.getUint32(0, true))
  const magic = view.getUint32(0, little)
  if (!isMagic(magic)) throw new Error(`${name}: no classic pcap file, it begins with 0x${magic.toString(16)}`)
  const fractionsPerSecond = magic === MAGIC_NANOSECONDS ? 1e9 : 1e6
  // The upper bits of this word tell the length of a frame check sequence.
  const linktype = view.getUint32(20, little) & 0xffff
  const packets: CapturedPacket[] = []
  for (let at = FILE_HEADER_LEN; at < file.byteLength; ) {
    const left = file.byteLength - at - PACKET_HEADER_LEN
    const length = left >= 0 ? view.getUint32(at + 8, little) : 0
    if (left < length) throw new Error(`${name}: ends in the middle of packet ${packets.length + 1}`)
    const timestamp = view.getUint32(at, little) + view.getUint32(at + 4, little) / fractionsPerSecond
    at += PACKET_HEADER_LEN
    // A copy, whatever was given: a Buffer's own slice() would share its memory.
    packets.push({ timestamp, linktype, bytes: new Uint8Array(file.subarray(at, at + length)) })
    at += length
  }
  return packets
}

function isMagic(word: number): boolean {
  return word === MAGIC_MICROSECONDS || word === MAGIC_NANOSECONDS
}
