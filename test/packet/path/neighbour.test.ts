/** A kernel VXLAN device asks who we are: the questions that are answered, and those that are not. */
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../../packet/address.ts'
import * as arp from '../../../packet/formats/arp.ts'
import { ETHERTYPE_ARP } from '../../../packet/formats/ethernet.ts'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import { PROTOCOL_ICMPV6 } from '../../../packet/formats/protocols.ts'
import { Packet } from '../../../packet/packet.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { answerNeighbour, NEIGHBOUR_ANSWER_BYTES } from '../../../packet/path/neighbour.ts'
import { NEIGHBOUR } from '../../../packet/path/verdict.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, OWN_MAC, twoNodes } from '../../support/two-nodes.ts'

const tables = twoNodes()
const MAC = 0x020000000002

function arpRequest(target: string, operation: number = arp.OPERATION_REQUEST): Uint8Array {
  const bytes = new Uint8Array(arp.HEADER_LEN)
  arp.write(new DataView(bytes.buffer), 0, {
    operation,
    senderHardwareAddr: MAC,
    senderProtocolAddr: parseAddress('10.244.2.0')[3],
    targetHardwareAddr: 0,
    targetProtocolAddr: parseAddress(target)[3],
  })
  return bytes
}

function solicitation(target: string, source = 'fe80::2', hopLimit = 255): Uint8Array {
  const bytes = new Uint8Array(40 + 32)
  const view = new DataView(bytes.buffer)
  ipv6.write(view, 0, {
    trafficClass: 0,
    flowLabel: 0,
    payloadLength: 32,
    nextHeader: PROTOCOL_ICMPV6,
    hopLimit,
    srcAddr: [...parseAddress(source)],
    dstAddr: [...parseAddress('ff02::1:ff00:1')],
  })
  icmpv6.init(view, 40)
  icmpv6.setType(view, 40, icmpv6.TYPE_NEIGHBOR_SOLICITATION)
  for (const [i, word] of parseAddress(target).entries()) view.setInt32(48 + i * 4, word)
  bytes.set([1, 1, 2, 0, 0, 0, 0, 2], 64)
  icmpv6.fillChecksum(view, 40, 72, ipv6.pseudoHeader(view, 0, PROTOCOL_ICMPV6, 32))
  return bytes
}

/** The answer's bytes, without its Ethernet header. */
function answerTo(question: Packet): Packet {
  const arena = new Uint8Array(4096)
  arena.set(question.bytes)
  const packet = new Packet(arena)
  packet.set(question.at, question.length)
  const out = new Packet(arena)
  out.at = 2048
  answerNeighbour(packet, tables, out)
  return out
}

describe('ARP', () => {
  it('for the gateway is answered with our MAC', () => {
    const question = envelope(arpRequest('10.244.1.1'), ETHERTYPE_ARP)
    expect(fromPeer(question, 0, tables)).toBe(NEIGHBOUR)
    const { view, at, length } = answerTo(question)
    expect(length).toBe(arp.HEADER_LEN)
    expect(arp.read(view, at)).toEqual({
      operation: arp.OPERATION_REPLY,
      senderHardwareAddr: OWN_MAC,
      senderProtocolAddr: parseAddress('10.244.1.1')[3],
      targetHardwareAddr: MAC,
      targetProtocolAddr: parseAddress('10.244.2.0')[3],
    })
  })

  it.each([
    ['for a pod', arpRequest('10.244.1.5')],
    ['that is an answer', arpRequest('10.244.1.1', arp.OPERATION_REPLY)],
    ['that is cut short', arpRequest('10.244.1.1').slice(0, 27)],
  ])('%s is not', (_, bytes) => {
    expect(describeVerdict(fromPeer(envelope(bytes, ETHERTYPE_ARP), 0, tables))).toBe('not-ip')
  })
})

describe('neighbour solicitation', () => {
  it('for the gateway is answered with our MAC', () => {
    const question = envelope(solicitation('fd00:10:244:1::1'))
    expect(fromPeer(question, 0, tables)).toBe(NEIGHBOUR)
    const { view, at, end, length } = answerTo(question)
    expect(length).toBe(NEIGHBOUR_ANSWER_BYTES)
    expect(ipv6.read(view, at)).toMatchObject({
      hopLimit: 255,
      srcAddr: [...parseAddress('fd00:10:244:1::1')],
      dstAddr: [...parseAddress('fe80::2')],
    })
    const pseudoHeader = ipv6.pseudoHeader(view, at, PROTOCOL_ICMPV6, 32)
    expect(icmpv6.verifyChecksum(view, at + 40, end, pseudoHeader)).toBe(true)
    expect(icmpv6.type(view, at + 40)).toBe(icmpv6.TYPE_NEIGHBOR_ADVERTISEMENT)
    expect([0, 1, 2, 3].map((i) => view.getInt32(at + 48 + i * 4))).toEqual([...parseAddress('fd00:10:244:1::1')])
    expect(view.getUint16(at + 66) * 2 ** 32 + view.getUint32(at + 68)).toBe(OWN_MAC)
  })

  it.each([
    ['for a pod', solicitation('fd00:10:244:1::5')],
    ['from nobody, as for duplicate detection', solicitation('fd00:10:244:1::1', '::')],
    ['that somebody forwarded', solicitation('fd00:10:244:1::1', 'fe80::2', 254)],
    ['with a wrong checksum', solicitation('fd00:10:244:1::1').with(63, 0x77)],
  ])('%s is not', (_, bytes) => {
    expect(describeVerdict(fromPeer(envelope(bytes), 0, tables))).not.toBe('neighbour')
  })
})
