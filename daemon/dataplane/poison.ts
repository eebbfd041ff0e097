/**
 * A packet that killed the worker twice is kept for study: a pcap file of its own (draft-ietf-opsawg-pcap), which
 * tcpdump and Wireshark read. A packet from a TUN is in it as it was; one from a peer gets the outer headers that the
 * kernel had taken off, without their checksums and our own address.
 *
 * It does not say why the worker died: the log does.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as udp from '../../packet/formats/udp.ts'
import { UDP_PORT } from '../../packet/formats/vxlan.ts'
import * as d from '../nic/descriptors.ts'
import { AT_BYTES, AT_DESCRIPTOR, type BatchMemory, bytesAtHand } from './batch-memory.ts'

/** The newest are kept. */
export const MAX_POISON_FILES = 16
const FILE_HEADER_LEN = 24
const RECORD_HEADER_LEN = 16
const MAGIC_MICROSECONDS = 0xa1b2c3d4
const SNAPLEN = 1 << 18
const LINKTYPE_RAW = 101
const MAPPED = 0xffff

/** Writes the packet at hand to a new file in the folder and answers its path. */
export function keepPacketAtHand(memory: BatchMemory, folder: string, nowMs: number): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  // Named by time: in order.
  const old = readdirSync(folder).sort()
  for (const name of old.slice(0, Math.max(0, old.length - MAX_POISON_FILES + 1))) rmSync(join(folder, name))
  const path = join(folder, `${new Date(nowMs).toISOString().replaceAll(':', '-')}.pcap`)
  writeFileSync(path, pcapOf(packetAtHand(memory), nowMs), { mode: 0o600 })
  return path
}

function packetAtHand(memory: BatchMemory): Uint8Array {
  const { arena, rx, progress } = memory
  const at = progress[AT_DESCRIPTOR]! * d.RX_WORDS
  const start = rx[at + d.RX_OFFSET]! + progress[AT_BYTES]!
  const bytes = arena.subarray(start, start + bytesAtHand(memory))
  if (rx[at + d.RX_PORT] !== d.PORT_UNDERLAY) return bytes
  return encapsulated(bytes, rx.subarray(at + d.RX_SRC_ADDR, at + d.RX_SRC_ADDR + 4))
}

function encapsulated(datagram: Uint8Array, from: Int32Array): Uint8Array {
  const v4 = from[0] === 0 && from[1] === 0 && from[2] === MAPPED
  const l4 = v4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN
  const bytes = new Uint8Array(l4 + udp.HEADER_LEN + datagram.length)
  const view = new DataView(bytes.buffer)
  if (v4) {
    ipv4.init(view, 0)
    ipv4.setTotalLength(view, 0, bytes.length)
    ipv4.setTtl(view, 0, 64)
    ipv4.setProtocol(view, 0, PROTOCOL_UDP)
    ipv4.setSrcAddr(view, 0, from[3]!)
    ipv4.fillChecksum(view, 0)
  } else {
    ipv6.init(view, 0)
    ipv6.setPayloadLength(view, 0, bytes.length - l4)
    ipv6.setNextHeader(view, 0, PROTOCOL_UDP)
    ipv6.setHopLimit(view, 0, 64)
    for (let i = 0; i < 4; i++) ipv6.setSrcAddrWord(view, 0, i, from[i]!)
  }
  udp.init(view, l4)
  udp.setLength(view, l4, udp.HEADER_LEN + datagram.length)
  // Ports last, and in place: a checksum that is absent stays so.
  view.setUint16(l4 + 2, UDP_PORT)
  bytes.set(datagram, l4 + udp.HEADER_LEN)
  return bytes
}

function pcapOf(packet: Uint8Array, nowMs: number): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_LEN + RECORD_HEADER_LEN + packet.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC_MICROSECONDS)
  view.setUint16(4, 2)
  view.setUint16(6, 4)
  view.setUint32(16, SNAPLEN)
  view.setUint32(20, LINKTYPE_RAW)
  view.setUint32(FILE_HEADER_LEN, Math.floor(nowMs / 1000))
  view.setUint32(FILE_HEADER_LEN + 4, (nowMs % 1000) * 1000)
  view.setUint32(FILE_HEADER_LEN + 8, packet.length)
  view.setUint32(FILE_HEADER_LEN + 12, packet.length)
  bytes.set(packet, FILE_HEADER_LEN + RECORD_HEADER_LEN)
  return bytes
}
