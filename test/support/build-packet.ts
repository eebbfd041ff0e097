/**
 * Builds real packets from one line of text, for tests that push them through the path:
 *
 *   udp 10.244.1.5:1000 > 10.244.2.7:53 ttl 64 payload 32
 *   tcp fd00:10:244:1::5.1000 > fd00:10:244:2::7.80 flags ack,psh seq 7
 *   icmp 10.244.1.5 > 10.244.2.7 ttl 1 type 0 echo 7    (an echo's identifier; without a type it is a request)
 *   udp 10.244.1.5:1000 > 10.244.2.7:53 fragment 185        (offset in units of 8 bytes)
 *
 * Ports follow IPv4 addresses after a colon and IPv6 addresses after a dot, as in tcpdump. Checksums are right.
 */
import { isMappedIpv4, parseAddress } from '../../packet/address.ts'
import * as icmp from '../../packet/formats/icmp.ts'
import * as icmpv6 from '../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import * as udp from '../../packet/formats/udp.ts'
import { HEADROOM_BYTES, Packet } from '../../packet/packet.ts'

const FLAGS: Record<string, number> = {
  fin: tcp.FLAG_FIN,
  syn: tcp.FLAG_SYN,
  rst: tcp.FLAG_RST,
  psh: tcp.FLAG_PSH,
  ack: tcp.FLAG_ACK,
  ece: tcp.FLAG_ECE,
  cwr: tcp.FLAG_CWR,
}

/** The bytes of the IP packet that the line describes. */
export function buildBytes(line: string): Uint8Array {
  const [protocol, from, , to, ...rest] = line.trim().split(/\s+/)
  const options = new Map<string, string>()
  for (let i = 0; i < rest.length; i += 2) options.set(rest[i]!, rest[i + 1] ?? '')
  const number = (name: string, fallback: number): number => Number(options.get(name) ?? fallback)
  const src = endpoint(from!)
  const dst = endpoint(to!)
  const v4 = isMappedIpv4(parseAddress(src.address))
  const at = v4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN
  const payload = Uint8Array.from({ length: number('payload', 0) }, (_, i) => (i * 7 + number('seed', 1)) & 255)

  const header = { tcp: tcp.HEADER_LEN, udp: udp.HEADER_LEN, icmp: 8 }[protocol!]!
  const bytes = new Uint8Array(at + header + payload.length)
  const view = new DataView(bytes.buffer)
  bytes.set(payload, at + header)
  const number4 = { tcp: PROTOCOL_TCP, udp: PROTOCOL_UDP, icmp: v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6 }[protocol!]!
  if (v4) {
    ipv4.write(view, 0, {
      dscp: 0,
      ecn: number('ecn', 0),
      totalLength: bytes.length,
      identification: number('id', 0),
      flags: number('ipflags', options.has('fragment') ? 0 : ipv4.FLAG_DONT_FRAGMENT),
      fragmentOffset: number('fragment', 0),
      ttl: number('ttl', 64),
      protocol: number4,
      headerChecksum: 0,
      srcAddr: parseAddress(src.address)[3],
      dstAddr: parseAddress(dst.address)[3],
      options: new Uint8Array(),
    })
    ipv4.fillChecksum(view, 0)
  } else {
    ipv6.write(view, 0, {
      trafficClass: number('ecn', 0),
      flowLabel: number('label', 0),
      payloadLength: bytes.length - at,
      nextHeader: number4,
      hopLimit: number('ttl', 64),
      srcAddr: [...parseAddress(src.address)],
      dstAddr: [...parseAddress(dst.address)],
    })
  }
  const pseudo = (v4 ? ipv4 : ipv6).pseudoHeader(view, 0, number4, bytes.length - at)
  if (protocol === 'tcp') {
    tcp.init(view, at)
    tcp.setSrcPort(view, at, src.port)
    tcp.setDstPort(view, at, dst.port)
    tcp.setSequenceNumber(view, at, number('seq', 1))
    tcp.setAcknowledgmentNumber(view, at, number('ackno', 0))
    tcp.setWindow(view, at, number('window', 1000))
    tcp.setFlags(view, at, flagBits(options.get('flags') ?? 'ack'))
    tcp.fillChecksum(view, at, bytes.length, pseudo)
  } else if (protocol === 'udp') {
    udp.init(view, at)
    udp.setSrcPort(view, at, src.port)
    udp.setDstPort(view, at, dst.port)
    udp.setLength(view, at, bytes.length - at)
    udp.fillChecksum(view, at, bytes.length, pseudo)
  } else {
    view.setUint8(at, number('type', v4 ? icmp.TYPE_ECHO_REQUEST : icmpv6.TYPE_ECHO_REQUEST))
    view.setUint16(at + 4, number('echo', 0))
    if (v4) icmp.fillChecksum(view, at, bytes.length)
    else icmpv6.fillChecksum(view, at, bytes.length, pseudo)
  }
  return bytes
}

/** `syn,ack` */
function flagBits(text: string): number {
  return text.split(',').reduce((all, flag) => all | FLAGS[flag]!, 0)
}

/** The same, in a slot of its own with headroom and room behind it. */
export function buildPacket(line: string): Packet {
  return packetOf(buildBytes(line))
}

export function packetOf(bytes: Uint8Array, headroomBytes = HEADROOM_BYTES): Packet {
  const arena = new Uint8Array(headroomBytes + bytes.length + 64)
  arena.set(bytes, headroomBytes)
  const packet = new Packet(arena)
  packet.set(headroomBytes, bytes.length)
  return packet
}

function endpoint(text: string): { address: string; port: number } {
  const v4 = text.match(/^(\d+\.\d+\.\d+\.\d+)(?::(\d+))?$/)
  if (v4) return { address: v4[1]!, port: Number(v4[2] ?? 0) }
  const dot = text.lastIndexOf('.')
  return dot < 0 ? { address: text, port: 0 } : { address: text.slice(0, dot), port: Number(text.slice(dot + 1)) }
}
