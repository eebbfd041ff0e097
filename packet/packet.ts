/**
 * The packet slot: one reused object that stands for the packet at hand. The bytes lie in the arena; the slot holds
 * where, the offload state they came with, and what one parse found. Nothing here is allocated per packet.
 *
 * Addresses are four 32-bit words of both families alike, IPv4 mapped into IPv6 (::ffff:a.b.c.d, RFC 4291, 2.5.5.2):
 * guard, tables and routes have one code path for both (docs/adr/0003-one-path-for-both-families.md).
 *
 * There are at least HEADROOM_BYTES writable bytes before `at`: encapsulation moves an offset, not bytes.
 */
import { FlowKey } from './flow-key.ts'

export const HEADROOM_BYTES = 22

/** The transport checksum is in the packet, right or wrong. */
export const CHECKSUM_FULL = 0
/** The field holds the uncomplemented pseudo-header sum; whoever puts it on a wire finishes it. */
export const CHECKSUM_PARTIAL = 1

/** virtio_net_hdr gso_type: what kind of super-packet, 0 for none. The ECN bit may be added to the TCP kinds. */
export const GSO_NONE = 0
export const GSO_TCPV4 = 1
export const GSO_TCPV6 = 4
export const GSO_UDP_L4 = 5
export const GSO_ECN = 0x80

// Names of this file's own: V8 folds these into the code, an exported constant it loads at every use.
const FULL = CHECKSUM_FULL
const NO_GSO = GSO_NONE
/** Changes nothing: no arena is as large. V8 then knows that offsets and lengths make no more than it can count to. */
const OFFSET_MASK = 0x1fffffff

export class Packet extends FlowKey {
  declare readonly bytes: Uint8Array
  declare readonly view: DataView

  // Where the IP packet lies: at <= x < end.
  at = 0
  end = 0

  // Offload state, as the device gave it. Checksum positions count from `at`.
  checksum: number = CHECKSUM_FULL
  checksumStart = 0
  checksumOffset = 0
  gsoType: number = GSO_NONE
  gsoSizeBytes = 0
  /** The outer TOS or traffic class: the one it came with from a peer, then the one it goes with to a peer. */
  outerTos = 0

  // Valid after parse() answered 0.
  family = 0
  /** TOS or traffic class: DSCP and ECN. */
  tos = 0
  ttl = 0
  /** Offset of the transport header in the arena; 0 where there is none: a fragment after the first, or unknown to us. */
  l4 = 0
  /** Offset of the transport payload; equals `l4` where the protocol has no ports. */
  payload = 0
  isFragment = false
  /** Whether addresses, ports and protocol name a flow: not of ICMP but echo, not of a fragment after the first. */
  isFlowKey = false
  /** What the fragments of one datagram share; of fragments only. */
  fragmentId = 0
  /** Whether it leaves with other addresses or ports: those of `leaves`. */
  isTranslated = false
  readonly leaves = new FlowKey()
  /** The identity of the service endpoint that its flow begins with, 0 for none. */
  endpoint = 0
  /** Of an ICMP error about a translated flow: what the packet it quotes is to say, and where that one's ports are. */
  readonly quoted = new FlowKey()
  quotedL4 = 0
  /** Where not 0, the packet leaves in IPv4 fragments of at most so many bytes (fragment.ts). */
  fragmentBytes = 0

  /** `bytes` is the arena, or a buffer of its own (tests, trace) with HEADROOM_BYTES before the packet. */
  constructor(bytes: Uint8Array) {
    super()
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Points the slot at a packet without offload state: every checksum is in its place. */
  set(at: number, length: number): void {
    this.at = at & OFFSET_MASK
    this.end = this.at + (length & OFFSET_MASK)
    this.checksum = FULL
    this.checksumStart = 0
    this.checksumOffset = 0
    this.gsoType = NO_GSO
    this.gsoSizeBytes = 0
    this.fragmentBytes = 0
    this.outerTos = 0
  }

  get length(): number {
    return this.end - this.at
  }
}

/** The largest IP packet that will be on the wire for this one, in bytes: limits look at the segment, not at the whole. */
export function segmentBytes(packet: Packet): number {
  return packet.gsoType === NO_GSO ? packet.end - packet.at : packet.payload - packet.at + packet.gsoSizeBytes
}

/** 32 bits from addresses, ports and protocol; the same for every packet, and every fragment, of one direction of a flow. */
export const flowHash = (packet: Packet): number =>
  packet.isFlowKey && !packet.isFragment ? packet.hash : addressHash(packet)

/** Of what is in no flow table by its own tuple. */
function addressHash(packet: Packet): number {
  let hash = Math.imul(packet.src3 ^ (packet.src0 + packet.src1), 0x9e3779b1)
  hash = Math.imul(hash ^ packet.dst3 ^ (packet.dst0 + packet.dst1), 0x85ebca6b)
  hash = Math.imul(hash ^ packet.src2 ^ (hash >>> 15), 0xc2b2ae35)
  hash = Math.imul(hash ^ packet.dst2, 0x27d4eb2f)
  hash = Math.imul(hash ^ packet.protocol ^ (hash >>> 13), 0x165667b1)
  return hash ^ (hash >>> 16)
}
