/**
 * The path as a child would write it: every packet read into objects, addresses as text, networks compared with
 * ipaddr.js, one rule after the other. Slow, and the judge of the fast one. It knows the cluster of two-nodes.ts.
 */
import ipaddr from 'ipaddr.js'
import { formatAddress } from '../../packet/address.ts'
import * as ethernet from '../../packet/formats/ethernet.ts'
import * as icmp from '../../packet/formats/icmp.ts'
import * as icmpv6 from '../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import * as sctp from '../../packet/formats/sctp.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import * as udp from '../../packet/formats/udp.ts'
import * as vxlan from '../../packet/formats/vxlan.ts'
import { MTU_BYTES } from './two-nodes.ts'

export type Entrance = 'from-pod' | 'from-peer' | 'from-host'

interface Read {
  family: 4 | 6
  src: string
  dst: string
  ttl: number
  ecn: number
  bytes: number
  mayFragment: boolean
}

const POD_A = ['10.244.1.5', 'fd00:10:244:1::5']
const PODS: Record<string, string> = {
  '10.244.1.5': 'pod 3',
  'fd00:10:244:1::5': 'pod 3',
  '10.244.1.6': 'pod 4',
  'fd00:10:244:1::6': 'pod 4',
}
const HOST = ['10.244.1.1', 'fd00:10:244:1::1', '192.0.2.1']
const PEER = networks('10.244.2.0/24', 'fd00:10:244:2::/64', '192.0.2.2/32')
const CLUSTER = networks('10.244.0.0/16', 'fd00:10:244::/48')
/** None of which there is: service.test.ts has the others. */
const SERVICES = networks('10.96.0.0/16', 'fd00:10:96::/112')
const NEVER = networks('0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/16', 'ff00::/8', 'fe80::/10')

type Network = [ipaddr.IPv4 | ipaddr.IPv6, number]

function networks(...texts: string[]): Network[] {
  return texts.map((text) => ipaddr.parseCIDR(text))
}

/** `pod 3`, `peer 0`, `host`, `world`, `neighbour`, or `drop`. `outerTos` is the envelope's. */
export function judge(entrance: Entrance, bytes: Uint8Array, outerTos = 0): string {
  const ip = entrance === 'from-peer' ? unwrap(bytes) : bytes
  if (typeof ip === 'string') return ip
  const packet = read(ip)
  if (packet === undefined || packet.ttl <= 1) return 'drop'
  if (isIn(packet.src, NEVER) || isIn(packet.dst, NEVER)) return 'drop'
  if (entrance === 'from-peer' && (outerTos & 3) === 3 && packet.ecn === 0) return 'drop'
  const to = lookup(packet.dst)
  const fits = packet.bytes <= MTU_BYTES || packet.mayFragment
  if (to === 'drop' || !fits) return 'drop'
  if (entrance === 'from-pod') return POD_A.includes(packet.src) ? to : 'drop'
  if (entrance === 'from-peer') return judgePeer(packet.src, to)
  const ours = packet.src in PODS || isIn(packet.src, PEER)
  return !ours && (to === 'peer 0' || to.startsWith('pod')) ? to : 'drop'
}

/** A peer speaks for its own pods and processes, and for the world to our pods. */
function judgePeer(src: string, to: string): string {
  const pod = to.startsWith('pod')
  if (isIn(src, PEER)) return pod || to === 'host' ? to : 'drop'
  return pod && lookup(src) === 'world' ? to : 'drop'
}

function lookup(dst: string): string {
  if (dst in PODS) return PODS[dst]!
  if (HOST.includes(dst)) return 'host'
  if (isIn(dst, PEER)) return 'peer 0'
  return isIn(dst, CLUSTER) || isIn(dst, SERVICES) ? 'drop' : 'world'
}

/** The IP packet in the envelope, or what becomes of the datagram without one. */
function unwrap(bytes: Uint8Array): Uint8Array | string {
  const view = viewOf(bytes)
  if (!vxlan.check(view, 0, bytes.length) || vxlan.vni(view, 0) !== 1) return 'drop'
  if (!ethernet.check(view, 8, bytes.length)) return 'drop'
  const type = ethernet.etherType(view, 8)
  return type === ethernet.ETHERTYPE_IPV4 || type === ethernet.ETHERTYPE_IPV6 ? bytes.subarray(22) : 'drop'
}

function read(bytes: Uint8Array): Read | undefined {
  const version = bytes.length === 0 ? 0 : bytes[0]! >> 4
  return version === 4 ? read4(bytes) : version === 6 ? read6(bytes) : undefined
}

function read4(bytes: Uint8Array): Read | undefined {
  const view = viewOf(bytes)
  if (!ipv4.check(view, 0, bytes.length) || !ipv4.verifyChecksum(view, 0)) return undefined
  const fields = ipv4.read(view, 0)
  const at = 20 + fields.options.length
  const end = fields.totalLength
  const more = (fields.flags & ipv4.FLAG_MORE_FRAGMENTS) !== 0
  if (fields.fragmentOffset === 0 && !transportIsWhole(view, fields.protocol, at, end, more, 4)) return undefined
  return {
    family: 4,
    src: formatAddress([0, 0, 0xffff, fields.srcAddr]),
    dst: formatAddress([0, 0, 0xffff, fields.dstAddr]),
    ttl: fields.ttl,
    ecn: fields.ecn,
    bytes: end,
    mayFragment: (fields.flags & ipv4.FLAG_DONT_FRAGMENT) === 0,
  }
}

function read6(bytes: Uint8Array): Read | undefined {
  const view = viewOf(bytes)
  if (!ipv6.check(view, 0, bytes.length)) return undefined
  const fields = ipv6.read(view, 0)
  const end = 40 + fields.payloadLength
  const upper = ipv6.upperLayer()
  if (!ipv6.walk(view, 0, end, upper)) return undefined
  const { protocol, offset, moreFragments } = upper
  if (upper.fragmentOffset === 0 && !transportIsWhole(view, protocol, offset, end, moreFragments, 6)) return undefined
  const [src, dst] = [fields.srcAddr, fields.dstAddr].map((words) =>
    formatAddress(words as [number, number, number, number]),
  )
  return {
    family: 6,
    src: inIpv6(src!),
    dst: inIpv6(dst!),
    ttl: fields.hopLimit,
    ecn: fields.trafficClass & 3,
    bytes: end,
    mayFragment: false,
  }
}

/** A mapped address is written as the IPv4 address that it stands for elsewhere; in an IPv6 header it is none. */
function inIpv6(text: string): string {
  return text.includes(':') ? text : `::ffff:${text}`
}

function transportIsWhole(
  view: DataView,
  protocol: number,
  at: number,
  end: number,
  isFragment: boolean,
  family: 4 | 6,
): boolean {
  if (protocol === 6) return tcp.check(view, at, end)
  if (protocol === 17) return (isFragment ? udp.checkFirstFragment : udp.check)(view, at, end)
  if (protocol === 132) return sctp.check(view, at, end)
  if (protocol === 1) return family === 4 && icmp.check(view, at, end)
  if (protocol === 58) return family === 6 && icmpv6.check(view, at, end)
  return true
}

function isIn(address: string, networks: Network[]): boolean {
  const parsed = ipaddr.parse(address)
  return networks.some(([base, length]) => base.kind() === parsed.kind() && parsed.match(base, length))
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
