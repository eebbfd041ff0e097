/**
 * Services beside a naive model that a child could check: lists, searched from one end to the other. Services and
 * endpoints change at random; each new flow goes where the model allows, each answer comes back as the frontend, and
 * every checksum is summed anew, byte by byte. Ordinary packets and super-packets, full and partial checksums.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../packet/address.ts'
import { CHECKSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, type Packet } from '../../../packet/packet.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import type { ServicePort } from '../../../packet/tables/service-port.ts'
import { ServiceTable } from '../../../packet/tables/services.ts'
import { openTables, type Tables } from '../../../packet/tables/tables.ts'
import { buildBytes, packetOf } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, POD_A, POD_B, twoNodesBuffers } from '../../support/two-nodes.ts'

const V4 = ['10.244.1.5', '10.244.1.6', '10.244.2.9', '10.244.2.10']
const V6 = ['fd00:10:244:1::5', 'fd00:10:244:1::6', 'fd00:10:244:2::9', 'fd00:10:244:2::a']
const FRONTENDS = { 4: ['10.96.0.1', '10.96.0.2'], 6: ['fd00:10:96::1', 'fd00:10:96::2'] }
const PROTOCOLS = { tcp: 6, udp: 17 }
const PAYLOAD_BYTES = 3000
const SEGMENT_BYTES = 1000

/** As text: service, family, protocol and the numbers of its endpoints; the model is a list of these. */
interface Wanted {
  frontend: string
  family: 4 | 6
  protocol: 'tcp' | 'udp'
  endpoints: readonly string[]
}

function portsOf(wanted: readonly Wanted[]): ServicePort[] {
  return wanted.map(({ frontend, protocol, endpoints }, n) => {
    const all = endpoints.map((_, i) => i)
    return {
      identity: n,
      protocol: PROTOCOLS[protocol],
      frontends: [{ address: frontend, port: 80 }],
      endpoints: endpoints.map((address) => ({
        address,
        port: 8080,
        identity: identityOf(frontend, protocol, address),
      })),
      usable: all.length,
      inside: all,
      outside: all,
      affinitySeconds: 0,
      sourceRanges: [],
    }
  })
}

/** The same for the same, whenever; no two alike here. */
function identityOf(...names: string[]): number {
  return [...names.join()].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) & 0x7fffffff, 7) || 1
}

/** RFC 1071, two bytes at a time. */
function sumOf(bytes: Uint8Array, before = 0): number {
  let sum = before
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

/** Of the addresses, the length and the protocol. */
function pseudoSumOf(ip: Uint8Array): number {
  const v4 = ip[0]! >> 4 === 4
  const l4 = v4 ? 20 : 40
  return sumOf(v4 ? ip.subarray(12, 20) : ip.subarray(8, 40), (v4 ? ip[9]! : ip[6]!) + ip.length - l4)
}

/** `from:port > to:port`, every checksum verified; a partial one holds the pseudo header's sum. */
function tupleOf(packet: Packet): string {
  const ip = packet.bytes.subarray(packet.at, packet.end)
  const view = new DataView(ip.buffer, ip.byteOffset, ip.length)
  const v4 = ip[0]! >> 4 === 4
  const l4 = v4 ? 20 : 40
  if (v4) expect(sumOf(ip.subarray(0, 20))).toBe(0xffff)
  if (packet.checksum === CHECKSUM_PARTIAL) {
    expect(view.getUint16(l4 + packet.checksumOffset)).toBe(pseudoSumOf(ip))
  } else expect(sumOf(ip.subarray(l4), pseudoSumOf(ip))).toBe(0xffff)
  const address = (at: number): string =>
    v4
      ? formatAddress([0, 0, 0xffff, view.getInt32(at)])
      : formatAddress([0, 4, 8, 12].map((i) => view.getInt32(at + i)) as never)
  const [src, dst] = v4 ? [address(12), address(16)] : [address(8), address(24)]
  return `${src} ${view.getUint16(l4)} > ${dst} ${view.getUint16(l4 + 2)}`
}

interface Shape {
  partial: boolean
  isSuper: boolean
}

/** As the addon or a pod's device hands it over. */
function packetFor(line: string, protocol: 'tcp' | 'udp', { partial, isSuper }: Shape, fromPeerSide = false): Packet {
  const bytes = buildBytes(`${protocol} ${line} payload ${isSuper ? PAYLOAD_BYTES : 33}`)
  const packet = fromPeerSide ? envelope(bytes) : packetOf(bytes)
  if (!partial && !isSuper) return packet
  const v4 = bytes[0]! >> 4 === 4
  const l4 = v4 ? 20 : 40
  // Inside an envelope the packet begins behind it.
  const start = packet.end - bytes.length
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = l4
  packet.checksumOffset = protocol === 'tcp' ? 16 : 6
  new DataView(packet.bytes.buffer, packet.bytes.byteOffset).setUint16(
    start + l4 + packet.checksumOffset,
    pseudoSumOf(packet.bytes.subarray(start, packet.end)),
  )
  if (!isSuper) return packet
  packet.gsoType = protocol === 'udp' ? GSO_UDP_L4 : v4 ? GSO_TCPV4 : GSO_TCPV6
  packet.gsoSizeBytes = SEGMENT_BYTES
  return packet
}

const at = (address: string, port: number): string => `${address}${address.includes(':') ? '.' : ':'}${port}`

function enterFrom(address: string, packet: Packet, tables: Tables): string {
  if (address === V4[0] || address === V6[0]) return describeVerdict(fromPod(packet, POD_A, tables))
  if (address === V4[1] || address === V6[1]) return describeVerdict(fromPod(packet, POD_B, tables))
  return describeVerdict(fromPeer(packet, 0, tables))
}

const whereOf = (address: string): string =>
  address === V4[0] || address === V6[0] ? 'pod 3' : address === V4[1] || address === V6[1] ? 'pod 4' : 'peer 0'

const wanted: fc.Arbitrary<Wanted> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    n: fc.nat(1),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    numbers: fc.subarray([0, 1, 2, 3]),
  })
  .map(({ family, n, protocol, numbers }) => ({
    family,
    frontend: FRONTENDS[family][n]!,
    protocol,
    endpoints: numbers.map((i) => (family === 4 ? V4 : V6)[i]!),
  }))

const asking = fc.record({
  service: fc.nat(1),
  family: fc.constantFrom(4 as const, 6 as const),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  shape: fc.record({ partial: fc.boolean(), isSuper: fc.boolean() }),
})

describe('services that change, beside a naive model', () => {
  it('each new flow goes to one of the endpoints of its frontend, and comes back as the frontend; else it is refused', () => {
    const step = fc.record({
      services: fc.uniqueArray(wanted, {
        maxLength: 4,
        selector: ({ frontend, protocol }) => `${frontend} ${protocol}`,
      }),
      asked: fc.array(asking, { minLength: 1, maxLength: 6 }),
    })
    let seen = 0
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 4 }), (steps) => {
        let tables: Tables | undefined
        let port = 1024
        for (const { services, asked } of steps) {
          const buffers = { ...twoNodesBuffers([]), services: ServiceTable.build(portsOf(services)) }
          tables = openTables(buffers, tables)
          tables.flows.tick(1_000_000)
          for (const { service, family, protocol, shape } of asked) {
            const frontend = FRONTENDS[family][service]!
            const [client] = family === 4 ? V4 : V6
            const flags = protocol === 'tcp' ? ' flags syn' : ''
            const line = `${at(client!, ++port)} > ${at(frontend, 80)}${flags}`
            const out = packetFor(line, protocol, shape)
            const verdict = enterFrom(client!, out, tables)
            const model = services.find((one) => one.frontend === frontend && one.protocol === protocol)
            const isKnown = services.some((one) => one.frontend === frontend)
            if (model === undefined) expect(verdict).toBe(isKnown ? 'no-such-service-port' : 'no-such-service')
            else if (model.endpoints.length === 0) expect(verdict).toBe('no-endpoint')
            if (model === undefined || model.endpoints.length === 0) continue
            const [source, sourcePort, , address, to] = tupleOf(out).split(' ')
            expect(model.endpoints).toContain(address)
            expect(verdict).toBe(whereOf(address!))
            // Whoever calls himself sees the frontend.
            expect(source).toBe(address === client ? frontend : client)
            expect([sourcePort, to]).toEqual([String(port), '8080'])
            const replyFlags = protocol === 'tcp' ? ' flags syn,ack ackno 2' : ''
            const reply = `${at(address!, 8080)} > ${at(source!, port)}${replyFlags}`
            const isFar = whereOf(address!) === 'peer 0'
            const back = packetFor(reply, protocol, isFar ? { partial: false, isSuper: false } : shape, isFar)
            expect(enterFrom(address!, back, tables)).toBe('pod 3')
            expect(tupleOf(back)).toBe(`${frontend} 80 > ${client} ${port}`)
            seen++
          }
        }
      }),
      { numRuns: 300 },
    )
    expect(seen).toBeGreaterThan(100)
  })

  it('is even: chi-square of 40,000 choices among 1 to 50 endpoints, with a seed that stays', () => {
    for (const count of [2, 3, 7, 50]) {
      const addresses = Array.from({ length: count }, (_, i) => `10.244.2.${i + 10}`)
      const service: Wanted = { frontend: '10.96.0.1', family: 4, protocol: 'udp', endpoints: addresses }
      const { flows } = openTables(twoNodesBuffers([]))
      const table = new ServiceTable(ServiceTable.build(portsOf([service])))
      const frontend = table.find(0, 0, 0xffff, 0x0a600001, 80, 17)
      const chosen = new Map<number, number>()
      const draws = 40_000
      for (let i = 0; i < draws; i++) {
        const endpoint = table.endpoint(frontend, flows.random(table.count(frontend)))
        const last = table.addressWord(endpoint, 3)
        chosen.set(last, (chosen.get(last) ?? 0) + 1)
      }
      expect(chosen.size).toBe(count)
      const expected = draws / count
      const chiSquare = [...chosen.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)
      // Five standard deviations above the mean of the distribution.
      expect(chiSquare).toBeLessThan(count - 1 + 5 * Math.sqrt(2 * (count - 1)))
    }
  })

  it('an error that a client sends about an answer reaches the endpoint, which finds its own packet quoted', () => {
    const service: Wanted = { frontend: '10.96.0.1', family: 4, protocol: 'udp', endpoints: ['10.244.2.9'] }
    const tables = openTables({ ...twoNodesBuffers([]), services: ServiceTable.build(portsOf([service])) })
    tables.flows.tick(1_000_000)
    const ask = packetOf(buildBytes('udp 10.244.1.5:1000 > 10.96.0.1:80 payload 20'))
    expect(describeVerdict(fromPod(ask, POD_A, tables))).toBe('peer 0')
    const quoted = buildBytes('udp 10.96.0.1:80 > 10.244.1.5:1000 payload 20')
    const bytes = buildBytes(`icmp 10.244.1.5 > 10.96.0.1 type 3 payload ${quoted.length}`)
    bytes.set(quoted, 28)
    bytes.fill(0, 22, 24)
    new DataView(bytes.buffer).setUint16(22, ~sumOf(bytes.subarray(20)) & 0xffff)
    const error = packetOf(bytes)
    expect(describeVerdict(fromPod(error, POD_A, tables))).toBe('peer 0')
    const { view, at: start } = error
    const address = (place: number): string => formatAddress([0, 0, 0xffff, view.getInt32(start + place)])
    expect([address(12), address(16)]).toEqual(['10.244.1.5', '10.244.2.9'])
    expect([address(28 + 12), address(28 + 16)]).toEqual(['10.244.2.9', '10.244.1.5'])
    expect(view.getUint16(start + 28 + 20)).toBe(8080)
    expect(sumOf(error.bytes.subarray(start + 20, error.end))).toBe(0xffff)
  })
})
