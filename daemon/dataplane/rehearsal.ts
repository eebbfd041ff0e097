/**
 * Before its turn a worker carries packets that never were: through a batch, tables and a flow table of its own, and out
 * to nobody. By the time the first real packet comes, V8 has compiled the path; a worker that begins cold needs tens of
 * milliseconds to catch up with what waits in the queues, and some of it would be lost.
 *
 * It knows the path only from outside: descriptors in, a batch run. Nothing of it is counted or kept.
 */
import { parseAddress } from '../../packet/address.ts'
import * as ethernet from '../../packet/formats/ethernet.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as tcp from '../../packet/formats/tcp.ts'
import * as udp from '../../packet/formats/udp.ts'
import { HOST, toPeer } from '../../packet/path/verdict.ts'
import { flowsInMemory } from '../../packet/tables/flow-recovery.ts'
import { buildTables, openFlowMemory, openTables, type Tables } from '../../packet/tables/tables.ts'
import * as d from '../nic/descriptors.ts'
import { Batch } from './batch.ts'
import { createBatchMemory, SLOTS } from './batch-memory.ts'
import { COUNTER_SLOTS } from './protocol.ts'

/** So many batches of SLOTS packets; V8 has compiled most of the path after a third of them. */
const BATCHES = 300
const OFFSET = 128
const PAYLOAD_BYTES = 32
const POD = d.PORT_FIRST_POD
const PEER_ADDRESS = '192.0.2.2'

const PODS = { 4: '10.1.1.5', 6: 'fd00:1::5' } as const
const PEERS = { 4: '10.1.2.5', 6: 'fd00:2::5' } as const

export class Rehearsal {
  /** As those of the real one; nobody adds them up. */
  readonly counters = new Float64Array(COUNTER_SLOTS)
  readonly #memory = createBatchMemory()
  readonly #batch: Batch
  readonly #packets: Uint8Array[]
  #done = 0

  constructor() {
    this.#batch = new Batch(stage(), this.counters, this.#memory, () => {})
    const families = [4, 6] as const
    const packets = families.flatMap((family) =>
      ([PROTOCOL_UDP, PROTOCOL_TCP] as const).flatMap((protocol) => [
        { bytes: build(family, protocol, PODS[family], PEERS[family]), port: POD },
        { bytes: enveloped(build(family, protocol, PEERS[family], PODS[family]), family), port: d.PORT_UNDERLAY },
      ]),
    )
    this.#packets = Array.from({ length: SLOTS }, (_, slot) => packets[slot % packets.length]!.bytes)
    for (let slot = 0; slot < SLOTS; slot++) this.#describe(slot, packets[slot % packets.length]!)
  }

  /** Every batch has the same descriptors. */
  #describe(slot: number, { bytes, port }: { bytes: Uint8Array; port: number }): void {
    const { rx } = this.#memory
    const at = slot * d.RX_WORDS
    rx[at + d.RX_PORT] = port
    rx[at + d.RX_OFFSET] = slot * d.SLOT_BYTES + OFFSET
    rx[at + d.RX_LENGTH] = bytes.length
    if (port === d.PORT_UNDERLAY) rx.set(parseAddress(PEER_ADDRESS), at + d.RX_SRC_ADDR)
  }

  get isOver(): boolean {
    return this.#done >= BATCHES
  }

  /** One batch: some tenths of a millisecond. */
  step(): void {
    const { arena } = this.#memory
    for (const [slot, bytes] of this.#packets.entries()) arena.set(bytes, slot * d.SLOT_BYTES + OFFSET)
    this.#batch.begin(SLOTS)
    this.#batch.run(++this.#done)
  }
}

/** One pod, one peer. */
function stage(): Tables {
  const state = {
    pods: [{ port: POD, addresses: [PODS[4], PODS[6]] }],
    peers: [
      { underlayAddress: PEER_ADDRESS, port: 4789, mtuBytes: 1400, vtepMac: '02:00:00:00:00:02', foreign: false },
    ],
    routes: [
      { prefix: '10.1.2.0/24', verdict: toPeer(0) },
      { prefix: 'fd00:2::/64', verdict: toPeer(0) },
      { prefix: '10.1.1.1', verdict: HOST },
    ],
    vtep: { vni: 1, mac: '02:00:00:00:00:01' },
    mtuBytes: 1400,
    gateways: [],
    natAddresses: [],
    copyDscp: false,
  }
  return openTables(buildTables(state), openFlowMemory(flowsInMemory(64)))
}

function build(family: 4 | 6, protocol: number, from: string, to: string): Uint8Array {
  const isTcp = protocol === PROTOCOL_TCP
  const l4 = family === 4 ? ipv4.HEADER_LEN : ipv6.HEADER_LEN
  const bytes = new Uint8Array(l4 + (isTcp ? tcp.HEADER_LEN : udp.HEADER_LEN) + PAYLOAD_BYTES)
  const view = new DataView(bytes.buffer)
  const [src, dst] = [parseAddress(from), parseAddress(to)]
  if (family === 4) {
    ipv4.init(view, 0)
    ipv4.setTotalLength(view, 0, bytes.length)
    ipv4.setTtl(view, 0, 64)
    ipv4.setProtocol(view, 0, protocol)
    ipv4.setSrcAddr(view, 0, src[3])
    ipv4.setDstAddr(view, 0, dst[3])
  } else {
    ipv6.init(view, 0)
    ipv6.setPayloadLength(view, 0, bytes.length - l4)
    ipv6.setNextHeader(view, 0, protocol)
    ipv6.setHopLimit(view, 0, 64)
    for (let i = 0; i < 4; i++) {
      ipv6.setSrcAddrWord(view, 0, i, src[i]!)
      ipv6.setDstAddrWord(view, 0, i, dst[i]!)
    }
  }
  // Ports and checksums are nothing that the path looks into.
  if (isTcp) {
    tcp.init(view, l4)
    tcp.setFlags(view, l4, tcp.FLAG_ACK)
  } else {
    udp.init(view, l4)
    udp.setLength(view, l4, bytes.length - l4)
  }
  return bytes
}

/** As a peer sends it: VXLAN with VNI 1, an Ethernet header. */
function enveloped(packet: Uint8Array, family: 4 | 6): Uint8Array {
  const type = family === 4 ? ethernet.ETHERTYPE_IPV4 : ethernet.ETHERTYPE_IPV6
  const macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
  return Uint8Array.from([8, 0, 0, 0, 0, 0, 1, 0, ...macs, type >>> 8, type & 0xff, ...packet])
}
