/**
 * Reads a captured frame layer by layer and says what the layers hold in tcpdump's words, as far as the captures in
 * test/vectors go: VXLAN around ARP, ICMP echo and TCP.
 */
import ipaddr from 'ipaddr.js'
import * as arp from '../../packet/formats/arp.ts'
import * as ethernet from '../../packet/formats/ethernet.ts'
import * as icmp from '../../packet/formats/icmp.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import * as udp from '../../packet/formats/udp.ts'
import * as vxlan from '../../packet/formats/vxlan.ts'
import type { Format } from './header-cases.ts'
import { viewOf } from './hex.ts'

export interface Layer {
  format: object
  at: number
  end: number
}

/** All layers of a frame, outermost first; throws where one is not well formed. */
export function layersOf(view: DataView): Layer[] {
  const layers: Layer[] = []
  const add = (format: object, at: number, end: number): void => {
    if (!(format as Format<object>).check(view, at, end)) throw new Error(`layer ${layers.length} at ${at} is broken`)
    layers.push({ format, at, end })
  }
  let at = 0
  while (true) {
    add(ethernet, at, view.byteLength)
    const type = ethernet.etherType(view, at)
    at += ethernet.HEADER_LEN
    if (type === ethernet.ETHERTYPE_ARP) {
      add(arp, at, view.byteLength)
      return layers
    }
    const ip = type === ethernet.ETHERTYPE_IPV4 ? ipv4 : ipv6
    add(ip, at, view.byteLength)
    const end = at + ip.totalLength(view, at)
    const protocol = ip === ipv4 ? ipv4.protocol(view, at) : ipv6.nextHeader(view, at)
    at += ip === ipv4 ? ipv4.headerLength(view, at) : ipv6.HEADER_LEN
    const transport = { [PROTOCOL_UDP]: udp, [PROTOCOL_TCP]: tcp, [PROTOCOL_ICMP]: icmp }[protocol]
    add(transport!, at, end)
    if (transport !== udp) return layers
    at += udp.HEADER_LEN
    add(vxlan, at, end)
    at += vxlan.HEADER_LEN
  }
}

export const timeText = (seconds: number): string =>
  new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')
const macText = (mac: number): string => mac.toString(16).padStart(12, '0').match(/../g)!.join(':')
const hexText = (value: number): string => `0x${value.toString(16).padStart(4, '0')}`
const wordBytes = (word: number): number[] => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]
const ipText = (words: number[]): string => ipaddr.fromByteArray(words.flatMap(wordBytes)).toString()

/** The source and destination of either family. */
function addressesOf(view: DataView, { format, at }: Layer): { src: string; dst: string } {
  if (format === ipv4) return { src: ipText([ipv4.srcAddr(view, at)]), dst: ipText([ipv4.dstAddr(view, at)]) }
  const { srcAddr, dstAddr } = ipv6.read(view, at)
  return { src: ipText(srcAddr), dst: ipText(dstAddr) }
}

/** A frame as `tcpdump -e` prints it on one line. */
export function shortText(view: DataView, layers: Layer[], i = 0): string {
  const frame = ethernet.read(view, layers[i]!.at)
  const { format, at, end } = layers[i + 1]!
  const name = format === arp ? 'ARP (0x0806)' : 'IPv4 (0x0800)'
  const size = end - layers[i]!.at
  const head = `${macText(frame.srcAddr)} > ${macText(frame.dstAddr)}, ethertype ${name}, length ${size}: `
  if (format === arp) return `${head}${arpText(view, at)}`
  const { src, dst } = addressesOf(view, layers[i + 1]!)
  const upper = layers[i + 2]!
  if (upper.format === icmp) {
    const { type, identifier, sequenceNumber } = icmp.read(view, upper.at)
    const what = type === icmp.TYPE_ECHO_REQUEST ? 'request' : 'reply'
    return `${head}${src} > ${dst}: ICMP echo ${what}, id ${identifier}, seq ${sequenceNumber}, length ${upper.end - upper.at}`
  }
  const { srcPort, dstPort } = udp.read(view, upper.at)
  return `${head}${src}.${srcPort} > ${dst}.${dstPort}: ${vxlanText(view, layers[i + 3]!.at)}\n${shortText(view, layers, i + 4)}`
}

function arpText(view: DataView, at: number): string {
  const fields = arp.read(view, at)
  const sender = ipText([fields.senderProtocolAddr])
  return fields.operation === arp.OPERATION_REQUEST
    ? `Request who-has ${ipText([fields.targetProtocolAddr])} tell ${sender}, length ${arp.HEADER_LEN}`
    : `Reply ${sender} is-at ${macText(fields.senderHardwareAddr)}, length ${arp.HEADER_LEN}`
}

function vxlanText(view: DataView, at: number): string {
  return `VXLAN, flags [I] (0x${vxlan.flags(view, at).toString(16).padStart(2, '0')}), vni ${vxlan.vni(view, at)}`
}

/** A frame of layers ethernet, IP, UDP, VXLAN, ethernet, IPv4, TCP as `tcpdump -v` prints it, its checksums judged. */
export function verboseText(view: DataView, layers: Layer[]): string {
  const [, outer, datagram, tunnel, , inner, segment] = layers as [Layer, Layer, Layer, Layer, Layer, Layer, Layer]
  const ports = udp.read(view, datagram.at)
  const { src, dst } = addressesOf(view, outer)
  const right = rightChecksum(view, udp, outer, datagram)
  // tcpdump does not judge a UDP checksum over IPv4 in this text, only over IPv6.
  const bad = outer.format === ipv6 ? `[bad udp cksum ${hexText(ports.checksum)} -> ${hexText(right)}!] ` : ''
  const over = `${src}.${ports.srcPort} > ${dst}.${ports.dstPort}: ${bad}${vxlanText(view, tunnel.at)}`
  const ip = outer.format === ipv4 ? `${ipv4Text(view, outer.at)}\n    ${over}` : `${ipv6Text(view, outer.at)} ${over}`
  return `${ip}\n${ipv4Text(view, inner.at)}\n    ${tcpText(view, inner, segment)}`
}

function ipv4Text(view: DataView, at: number): string {
  const f = ipv4.read(view, at)
  const flags = f.flags & ipv4.FLAG_DONT_FRAGMENT ? 'DF' : 'none'
  const proto = { [PROTOCOL_UDP]: 'UDP', [PROTOCOL_TCP]: 'TCP' }[f.protocol]
  const tos = (f.dscp << 2) | f.ecn
  return `IP (tos 0x${tos.toString(16)}, ttl ${f.ttl}, id ${f.identification}, offset ${f.fragmentOffset * 8}, flags [${flags}], proto ${proto} (${f.protocol}), length ${f.totalLength})`
}

function ipv6Text(view: DataView, at: number): string {
  const f = ipv6.read(view, at)
  return `IP6 (hlim ${f.hopLimit}, next-header UDP (${f.nextHeader}), payload length ${f.payloadLength})`
}

function tcpText(view: DataView, ip: Layer, { at, end }: Layer): string {
  const f = tcp.read(view, at)
  const { src, dst } = addressesOf(view, ip)
  const size = end - at - tcp.headerLength(view, at)
  const right = rightChecksum(view, tcp, ip, { format: tcp, at, end })
  const stamps = viewOf(f.options)
  return [
    `${src}.${f.srcPort} > ${dst}.${f.dstPort}: Flags [${f.flags & tcp.FLAG_PSH ? 'P' : ''}${f.flags & tcp.FLAG_ACK ? '.' : ''}]`,
    `cksum ${hexText(f.checksum)} (incorrect -> ${hexText(right)})`,
    `seq ${f.sequenceNumber}:${f.sequenceNumber + size}`,
    `ack ${f.acknowledgmentNumber}`,
    `win ${f.window}`,
    `options [nop,nop,TS val ${stamps.getUint32(4)} ecr ${stamps.getUint32(8)}]`,
    `length ${size}`,
  ].join(', ')
}

/** What the checksum would be if its sender had finished it; computed on a copy. */
function rightChecksum(view: DataView, transport: typeof tcp | typeof udp, ip: Layer, { at, end }: Layer): number {
  const copy = viewOf(new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)))
  transport.fillChecksum(copy, at, end, pseudoHeaderOf(view, transport, ip, at, end))
  return transport.checksum(copy, at)
}

export function pseudoHeaderOf(view: DataView, transport: object, ip: Layer, at: number, end: number): number {
  const protocol = transport === tcp ? PROTOCOL_TCP : PROTOCOL_UDP
  return (ip.format as typeof ipv4 | typeof ipv6).pseudoHeader(view, ip.at, protocol, end - at)
}
