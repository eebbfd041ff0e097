/**
 * Services, packet by packet, as node 1 of two-nodes.ts decides them: to which endpoint, as whom, and what comes back.
 *
 *   web       10.96.0.10:80 and fd00:10:96::10:80   pod A, pod B on this node, a pod on node 2, at port 8080
 *   dns       10.96.0.53:53, UDP                    one pod on node 2
 *   empty     10.96.0.11:80                         no endpoint
 *   away      10.96.0.12:80 from inside, 192.0.2.1:30080 from outside (traffic policy Local)   a pod on node 2
 *   sticky    10.96.0.13:80                         as web, with affinity
 *   guarded   203.0.113.9:80, for 198.51.100.0/24 only
 *   balanced  203.0.113.20:80 and 2001:db8::20:80   as web; from outside pod A only (traffic policy Local)
 */
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { formatAddress } from '../../../packet/address.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import { CHECKSUM_PARTIAL, Packet } from '../../../packet/packet.ts'
import { ANSWER_BYTES, answer, isAnswered } from '../../../packet/path/answer.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { parse } from '../../../packet/path/parse.ts'
import { indexOf, type Verdict } from '../../../packet/path/verdict.ts'
import { listFlows } from '../../../packet/tables/flow-list.ts'
import type { ServicePort } from '../../../packet/tables/service-port.ts'
import { openTables, type Tables } from '../../../packet/tables/tables.ts'
import { buildBytes, packetOf } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, POD_A, POD_B, twoNodes, twoNodesBuffers } from '../../support/two-nodes.ts'

const seed = Number(process.env['TEST_POLDER_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

const V4 = ['10.244.1.5', '10.244.1.6', '10.244.2.9']
const V6 = ['fd00:10:244:1::5', 'fd00:10:244:1::6', 'fd00:10:244:2::9']

function servicePort(identity: number, port: Partial<ServicePort> & Pick<ServicePort, 'frontends'>): ServicePort {
  const endpoints = port.endpoints ?? []
  const all = endpoints.map((_, i) => i)
  return {
    usable: all.length,
    protocol: 6,
    endpoints,
    inside: all,
    outside: all,
    affinitySeconds: 0,
    sourceRanges: [],
    identity,
    ...port,
  }
}

const endpoints = (addresses: string[], port: number, first: number) =>
  addresses.map((address, i) => ({ address, port, identity: first + i }))

const at = (address: string, port: number) => ({ address, port })

const SERVICES: ServicePort[] = [
  servicePort(1, { frontends: [at('10.96.0.10', 80)], endpoints: endpoints(V4, 8080, 10) }),
  servicePort(2, { frontends: [at('fd00:10:96::10', 80)], endpoints: endpoints(V6, 8080, 20) }),
  servicePort(3, { frontends: [at('10.96.0.53', 53)], endpoints: endpoints(V4.slice(2), 53, 30), protocol: 17 }),
  servicePort(4, { frontends: [at('10.96.0.11', 80)] }),
  servicePort(5, {
    frontends: [at('10.96.0.12', 80), at('192.0.2.1', 30080)],
    endpoints: endpoints(V4.slice(2), 8080, 50),
    outside: [],
  }),
  servicePort(6, { frontends: [at('10.96.0.13', 80)], endpoints: endpoints(V4, 8080, 60), affinitySeconds: 100 }),
  servicePort(7, {
    frontends: [at('203.0.113.9', 80)],
    endpoints: endpoints(V4.slice(0, 1), 8080, 70),
    sourceRanges: ['198.51.100.0/24'],
  }),
  ...[V4, V6].map((addresses, i) =>
    servicePort(9 + i, {
      frontends: [at(['203.0.113.20', '2001:db8::20'][i]!, 80)],
      endpoints: endpoints(addresses, 8080, 90 + i * 10),
      outside: [0],
    }),
  ),
  servicePort(8, { frontends: [at('192.0.2.1', 30090)], endpoints: endpoints(V4.slice(2), 8080, 80) }),
]

let tables: Tables
let nowMs: number

beforeEach(() => {
  nowMs = 1_000_000
  use(SERVICES)
})

function use(services: ServicePort[]): void {
  const memory = tables === undefined || tables.flows.now !== nowMs / 100 ? undefined : tables
  tables = openTables(twoNodesBuffers(services), memory)
  tables.flows.tick(nowMs)
}

/** `pod 4: 10.244.1.5:1000 > 10.244.1.6:8080`, or the drop reason. Every checksum is verified. */
function enter(entrance: string, line: string): string {
  const bytes = buildBytes(line)
  const packet = entrance === 'peer' ? envelope(bytes) : packetOf(bytes)
  return said(packet, decide(entrance, packet))
}

function decide(entrance: string, packet: Packet): Verdict {
  if (entrance === 'peer') return fromPeer(packet, 0, tables)
  if (entrance === 'host') return fromHost(packet, tables)
  return fromPod(packet, entrance === 'podB' ? POD_B : POD_A, tables)
}

function said(packet: Packet, verdict: Verdict): string {
  const where = describeVerdict(verdict)
  return /^(pod|peer|host|world)/.test(where) ? `${where}: ${tupleOf(packet)}` : where
}

function tupleOf({ view, at, end, bytes }: Packet): string {
  const copy = new Packet(bytes)
  copy.set(at, end - at)
  expect(parse(copy)).toBe(0)
  const pseudo = (copy.family === 4 ? ipv4 : ipv6).pseudoHeader(view, at, copy.protocol, end - copy.l4)
  if (copy.l4 !== 0 && !copy.isFragment && copy.protocol !== 1 && copy.protocol !== 58) {
    expect((copy.protocol === 6 ? tcp : udp).verifyChecksum(view, copy.l4, end, pseudo)).toBe(true)
  }
  const address = (a: number, b: number, c: number, d: number): string => formatAddress([a, b, c, d])
  const src = address(copy.src0, copy.src1, copy.src2, copy.src3)
  const dst = address(copy.dst0, copy.dst1, copy.dst2, copy.dst3)
  const sep = copy.family === 4 ? ':' : '.'
  return `${src}${sep}${copy.ports >>> 16} > ${dst}${sep}${copy.ports & 0xffff}`
}

describe('a ClusterIP', () => {
  it('leads to an endpoint, which answers as the service, both ways as long as the flow lives', () => {
    expect(enter('pod', 'udp 10.244.1.5:1000 > 10.96.0.53:53 payload 20')).toBe(
      'peer 0: 10.244.1.5:1000 > 10.244.2.9:53',
    )
    expect(enter('peer', 'udp 10.244.2.9:53 > 10.244.1.5:1000 payload 20')).toBe(
      'pod 3: 10.96.0.53:53 > 10.244.1.5:1000',
    )
    expect(enter('pod', 'udp 10.244.1.5:1000 > 10.96.0.53:53 payload 20')).toBe(
      'peer 0: 10.244.1.5:1000 > 10.244.2.9:53',
    )
    expect([...listFlows(tables.flows.words.buffer, nowMs)]).toMatchObject([
      { destination: { address: '10.96.0.53', port: 53 }, backend: { address: '10.244.2.9' }, originalPackets: 2 },
    ])
  })

  it('is reached from the host', () => {
    expect(enter('host', 'udp 10.244.1.1:1000 > 10.96.0.53:53')).toBe('peer 0: 10.244.1.1:1000 > 10.244.2.9:53')
    expect(enter('peer', 'udp 10.244.2.9:53 > 10.244.1.1:1000')).toBe('host: 10.96.0.53:53 > 10.244.1.1:1000')
  })

  it.each([
    ['IPv4', '10.244.1.6', ':', '10.96.0.10', V4],
    ['IPv6', 'fd00:10:244:1::6', '.', 'fd00:10:96::10', V6],
  ])('spreads evenly over its endpoints (%s)', (_, client, sep, service, addresses) => {
    const counts = new Map(addresses.map((address) => [address, 0]))
    for (let port = 1; port <= 3000; port++) {
      const to = enter('podB', `tcp ${client}${sep}${port} > ${service}${sep}80 flags syn`)
      const address = addresses.find((each) => to.endsWith(`> ${each}${sep}8080`))!
      counts.set(address, counts.get(address)! + 1)
    }
    // Five standard deviations of a fair choice.
    for (const [, count] of counts) expect(Math.abs(count - 1000)).toBeLessThan(130)
  })

  it('shows a pod that calls itself the address of the service, and lets it answer', () => {
    const own = servicePort(1, { frontends: [at('10.96.0.10', 80)], endpoints: endpoints(V4.slice(0, 1), 8080, 10) })
    use([own])
    expect(enter('pod', 'tcp 10.244.1.5:1000 > 10.96.0.10:80 flags syn')).toBe(
      'pod 3: 10.96.0.10:1000 > 10.244.1.5:8080',
    )
    expect(enter('pod', 'tcp 10.244.1.5:8080 > 10.96.0.10:1000 flags syn,ack ackno 2')).toBe(
      'pod 3: 10.96.0.10:80 > 10.244.1.5:1000',
    )
  })

  it('tells apart two connections of one client port to two services with one endpoint', () => {
    const two = [1, 2].map((i) =>
      servicePort(i, { frontends: [at(`10.96.0.${i}`, 80)], endpoints: endpoints(V4.slice(2), 8080, i * 10) }),
    )
    use(two)
    expect(enter('pod', 'tcp 10.244.1.5:1000 > 10.96.0.1:80 flags syn')).toBe(
      'peer 0: 10.244.1.5:1000 > 10.244.2.9:8080',
    )
    const second = enter('pod', 'tcp 10.244.1.5:1000 > 10.96.0.2:80 flags syn')
    const port = Number(second.match(/^peer 0: 10\.244\.1\.5:(\d+) > 10\.244\.2\.9:8080$/)![1])
    expect(port).not.toBe(1000)
    expect(enter('peer', `tcp 10.244.2.9:8080 > 10.244.1.5:${port} flags syn,ack ackno 2`)).toBe(
      'pod 3: 10.96.0.2:80 > 10.244.1.5:1000',
    )
    expect(enter('peer', 'tcp 10.244.2.9:8080 > 10.244.1.5:1000 flags syn,ack ackno 2')).toBe(
      'pod 3: 10.96.0.1:80 > 10.244.1.5:1000',
    )
  })

  it('with affinity sends a client where it was sent before, until that is forgotten or gone', () => {
    const where = (port: number): string =>
      enter('podB', `tcp 10.244.1.6:${port} > 10.96.0.13:80 flags syn`).replace(/.*> /, '')
    const first = where(1)
    for (let port = 2; port < 50; port++) expect(where(port)).toBe(first)
    const gone = V4.findIndex((address) => first.startsWith(address))
    const rest = SERVICES.map((port) =>
      port.identity === 6 ? { ...port, inside: port.inside.filter((i) => i !== gone) } : port,
    )
    use(rest)
    const second = where(100)
    expect(second).not.toBe(first)
    use(SERVICES)
    for (let port = 101; port < 120; port++) expect(where(port)).toBe(second)
    nowMs += 101_000
    tables.flows.tick(nowMs)
    expect(new Set(Array.from({ length: 40 }, (_, i) => i).map((i) => enterOther(i))).size).toBeGreaterThan(1)
  })

  const enterOther = (i: number): string =>
    enter('pod', `tcp 10.244.1.5:${i + 1} > 10.96.0.10:80 flags syn`).replace(/.*> /, '')
})

describe('what is refused', () => {
  it.each([
    ['pod', 'tcp 10.244.1.5:1000 > 10.96.0.11:80 flags syn', 'no-endpoint'],
    ['host', 'tcp 10.244.1.1:1000 > 10.96.0.11:80 flags syn', 'no-endpoint'],
    ['pod', 'tcp 10.244.1.5:1000 > 10.96.0.10:81 flags syn', 'no-such-service-port'],
    ['pod', 'udp 10.244.1.5:1000 > 10.96.0.10:80', 'no-such-service-port'],
    ['pod', 'tcp 10.244.1.5:1000 > 10.96.0.99:80 flags syn', 'no-such-service'],
    ['host', 'tcp 198.51.100.7:1000 > 192.0.2.1:30080 flags syn', 'no-local-endpoint'],
    ['host', 'tcp 198.51.101.7:1000 > 203.0.113.9:80 flags syn', 'source-not-allowed'],
  ])('%s: %s → %s', (entrance, line, reason) => {
    expect(enter(entrance, line)).toBe(reason)
    expect([...listFlows(tables.flows.words.buffer, nowMs)]).toEqual([])
  })

  const answered = (line: string): string => {
    const arena = new Uint8Array(8192)
    const bytes = buildBytes(line)
    arena.set(bytes, 64)
    const packet = new Packet(arena)
    packet.set(64, bytes.length)
    const reason = indexOf(fromPod(packet, POD_A, tables))
    if (!isAnswered(packet, reason, tables)) return 'silence'
    const out = new Packet(arena)
    out.at = 8192 - ANSWER_BYTES - 64
    answer(packet, reason, tables, out, false)
    const flags = out.l4 !== 0 && out.view.getUint8(out.at + 9) === 6 ? tcp.read(out.view, out.l4) : undefined
    return `${tupleOf(out)} ${flags === undefined ? 'icmp' : `${flags.flags} ${flags.sequenceNumber} ${flags.acknowledgmentNumber}`}`
  }

  it('TCP by a reset from the service, everything else by ICMP', () => {
    expect(answered('tcp 10.244.1.5:1000 > 10.96.0.11:80 flags syn seq 41')).toBe(
      `10.96.0.11:80 > 10.244.1.5:1000 ${tcp.FLAG_RST | tcp.FLAG_ACK} 0 42`,
    )
    expect(answered('tcp 10.244.1.5:1000 > 10.96.0.10:81 flags ack seq 41 ackno 99')).toBe(
      `10.96.0.10:81 > 10.244.1.5:1000 ${tcp.FLAG_RST} 99 0`,
    )
    expect(answered('udp 10.244.1.5:1000 > 10.96.0.10:81')).toMatch(/^10\.96\.0\.10:\d+ > 10\.244\.1\.5:\d+ icmp$/)
    expect(answered('tcp 10.244.1.5:1000 > 10.96.0.99:80 flags syn')).toBe('silence')
  })

  it('never a reset by a reset', () => {
    expect(answered('tcp 10.244.1.5:1000 > 10.96.0.11:80 flags rst seq 41')).toBe('silence')
  })
})

describe('from outside', () => {
  it('a client keeps its address, and is answered through this node as it asked', () => {
    expect(enter('host', 'tcp 198.51.100.7:1000 > 203.0.113.9:80 flags syn')).toBe(
      'pod 3: 198.51.100.7:1000 > 10.244.1.5:8080',
    )
    expect(enter('pod', 'tcp 10.244.1.5:8080 > 198.51.100.7:1000 flags syn,ack ackno 2')).toBe(
      'world: 203.0.113.9:80 > 198.51.100.7:1000',
    )
  })

  it('also where the endpoint is on another node', () => {
    expect(enter('host', 'tcp 198.51.100.7:1000 > 192.0.2.1:30090 flags syn')).toBe(
      'peer 0: 198.51.100.7:1000 > 10.244.2.9:8080',
    )
    expect(enter('peer', 'tcp 10.244.2.9:8080 > 198.51.100.7:1000 flags syn,ack ackno 2')).toBe(
      'world: 192.0.2.1:30090 > 198.51.100.7:1000',
    )
  })

  it('a peer that asks for what is elsewhere is answered through this node, which shows its second address', () => {
    expect(enter('peer', 'tcp 10.244.2.8:1000 > 192.0.2.1:30090 flags syn')).toBe(
      'peer 0: 10.244.1.2:1000 > 10.244.2.9:8080',
    )
    expect(enter('peer', 'tcp 10.244.2.9:8080 > 10.244.1.2:1000 flags syn,ack ackno 2')).toBe(
      'peer 0: 192.0.2.1:30090 > 10.244.2.8:1000',
    )
  })
})

describe.each([
  [4, ':', '203.0.113.20', '198.51.100.7', ['10.244.1.1', '192.0.2.1'], V4],
  [6, '.', '2001:db8::20', '2001:db8:9::7', ['fd00:10:244:1::1'], V6],
] as const)(
  'a load balancer address over IPv%i, with the traffic policy Local',
  (_, sep, balanced, client, node, all) => {
    let port = 1000
    const ask = (entrance: string, from: string): string[] => {
      const reached = Array.from({ length: 60 }, () =>
        enter(entrance, `tcp ${from}${sep}${port++} > ${balanced}${sep}80 flags syn`),
      )
      return [...new Set(reached.map((line) => line.replace(new RegExp(`.*> |\\${sep}8080$`, 'g'), '')))].sort()
    }

    it('leads those from outside to endpoints of this node, and answers them as itself', () => {
      expect(ask('host', client)).toEqual([all[0]])
      expect(enter('pod', `tcp ${all[0]}${sep}8080 > ${client}${sep}${port - 1} flags syn,ack ackno 2`)).toBe(
        `world: ${balanced}${sep}80 > ${client}${sep}${port - 1}`,
      )
    })

    it('leads pods and the node itself to all', () => {
      expect(ask('podB', all[1]!)).toEqual([...all])
      for (const address of node) expect(ask('host', address)).toEqual([...all])
    })

    it('without any endpoint refuses whoever asks, without a local one is silent to those from outside', () => {
      const left = (inside: number[]): ServicePort[] =>
        SERVICES.map((port) => (port.identity > 8 ? { ...port, inside, outside: [], usable: inside.length } : port))
      use(left([]))
      expect([ask('host', client), ask('podB', all[1]!)]).toEqual([['no-endpoint'], ['no-endpoint']])
      use(left([2]))
      expect([ask('host', client), ask('podB', all[1]!)]).toEqual([['no-local-endpoint'], [all[2]]])
    })
  },
)

it('source ranges hold for everybody, inside and outside', () => {
  expect(enter('pod', 'tcp 10.244.1.5:1000 > 203.0.113.9:80 flags syn')).toBe('source-not-allowed')
  expect(enter('host', 'tcp 192.0.2.1:1000 > 203.0.113.9:80 flags syn')).toBe('source-not-allowed')
  expect(enter('host', 'tcp 198.51.100.1:1000 > 203.0.113.9:80 flags syn')).toContain('> 10.244.1.5:8080')
})

describe('when endpoints go', () => {
  const without = (gone: string): ServicePort[] =>
    SERVICES.map((port) => {
      const left = port.endpoints.filter(({ address }) => address !== gone)
      const all = left.map((_, i) => i)
      return {
        ...port,
        endpoints: left,
        usable: left.length,
        inside: all,
        outside: port.outside.length === 0 ? [] : all,
      }
    })

  it('TCP flows to one that is still there, terminating say, go on; new ones go elsewhere', () => {
    const first = enter('podB', 'tcp 10.244.1.6:1 > 10.96.0.10:80 flags syn')
    const gone = V4.findIndex((address) => first.includes(`> ${address}:`))
    use(
      SERVICES.map((port) => (port.identity === 1 ? { ...port, inside: port.inside.filter((i) => i !== gone) } : port)),
    )
    expect(enter('podB', 'tcp 10.244.1.6:1 > 10.96.0.10:80 flags ack')).toBe(first)
    for (let port = 2; port < 40; port++) {
      expect(enter('podB', `tcp 10.244.1.6:${port} > 10.96.0.10:80 flags syn`)).not.toContain(`> ${V4[gone]}:`)
    }
  })

  it('TCP flows to one that is gone are reset', () => {
    const first = enter('podB', 'tcp 10.244.1.6:1 > 10.96.0.10:80 flags syn')
    use(without(V4.find((address) => first.includes(`> ${address}:`))!))
    expect(enter('podB', 'tcp 10.244.1.6:1 > 10.96.0.10:80 flags ack')).toBe('endpoint-gone')
  })

  it('UDP flows are decided anew: to another, to none, and again to one', () => {
    expect(enter('pod', 'udp 10.244.1.5:1 > 10.96.0.53:53')).toBe('peer 0: 10.244.1.5:1 > 10.244.2.9:53')
    use(without('10.244.2.9'))
    expect(enter('pod', 'udp 10.244.1.5:1 > 10.96.0.53:53')).toBe('no-endpoint')
    const moved = endpoints(['10.244.1.6'], 53, 99)
    use(SERVICES.map((port) => (port.identity === 3 ? { ...port, endpoints: moved, usable: 1 } : port)))
    expect(enter('pod', 'udp 10.244.1.5:1 > 10.96.0.53:53')).toBe('pod 4: 10.244.1.5:1 > 10.244.1.6:53')
    expect(enter('podB', 'udp 10.244.1.6:53 > 10.244.1.5:1')).toBe('pod 3: 10.96.0.53:53 > 10.244.1.5:1')
  })
})

describe('in the bytes', () => {
  it(`there and back is the identity but for the TTL, whatever the packet (seed ${seed})`, () => {
    const family = fc.constantFrom(4 as const, 6 as const)
    fc.assert(
      fc.property(family, fc.boolean(), fc.nat(60), fc.nat(60_000), (version, partial, payload, port) => {
        tables = twoNodes()
        use(
          SERVICES.map((service) => ({
            ...service,
            endpoints: service.endpoints.slice(0, 1),
            inside: [0],
            outside: [0],
          })),
        )
        const [client, service, sep] =
          version === 4 ? ['10.244.1.6', '10.96.0.10', ':'] : ['fd00:10:244:1::6', 'fd00:10:96::10', '.']
        const out = packetOf(
          buildBytes(`tcp ${client}${sep}${port + 1} > ${service}${sep}80 flags syn payload ${payload}`),
        )
        if (partial) makePartial(out)
        expect(describeVerdict(decide('podB', out))).toBe('pod 3')
        if (partial) finish(out)
        const toServer = tupleOf(out)
        const [from, , to] = toServer.split(' ')
        const reply = packetOf(buildBytes(`tcp ${to} > ${from} flags syn,ack ackno 2 payload ${payload}`))
        if (partial) makePartial(reply)
        expect(describeVerdict(decide('pod', reply))).toBe('pod 4')
        if (partial) finish(reply)
        expect(tupleOf(reply)).toBe(`${service}${sep}80 > ${client}${sep}${port + 1}`)
        const expected = packetOf(
          buildBytes(
            `tcp ${service}${sep}80 > ${client}${sep}${port + 1} flags syn,ack ackno 2 payload ${payload} ttl 63`,
          ),
        )
        expect(reply.bytes.slice(reply.at, reply.end)).toEqual(expected.bytes.slice(expected.at, expected.end))
      }),
      { seed, numRuns: 200 },
    )
  })

  function makePartial(packet: Packet): void {
    const { view, at: start } = packet
    const v4 = view.getUint8(start) >> 4 === 4
    const l4 = start + (v4 ? 20 : 40)
    tcp.setChecksum(view, l4, (v4 ? ipv4 : ipv6).pseudoHeader(view, start, 6, packet.end - l4))
    packet.checksum = CHECKSUM_PARTIAL
    packet.checksumStart = l4 - start
    packet.checksumOffset = 16
  }

  function finish(packet: Packet): void {
    const { view, at: start } = packet
    const l4 = start + packet.checksumStart
    const v4 = view.getUint8(start) >> 4 === 4
    const pseudo = (v4 ? ipv4 : ipv6).pseudoHeader(view, start, 6, packet.end - l4)
    expect(tcp.checksum(view, l4)).toBe(pseudo)
    tcp.fillChecksum(view, l4, packet.end, pseudo)
  }

  it('fragments follow their first one to its endpoint', () => {
    expect(enter('pod', 'udp 10.244.1.5:7 > 10.96.0.53:53 payload 40 id 9 ipflags 1')).toContain('> 10.244.2.9:53')
    expect(enter('pod', 'udp 10.244.1.5:7 > 10.96.0.53:53 payload 40 id 9 fragment 6')).toBe(
      'peer 0: 10.244.1.5:0 > 10.244.2.9:0',
    )
    expect(enter('pod', 'udp 10.244.1.5:7 > 10.96.0.53:53 payload 40 id 10 fragment 6')).toBe('no-such-service')
  })

  it('an error about a translated packet quotes what its receiver sent', () => {
    enter('pod', 'udp 10.244.1.5:1000 > 10.96.0.53:53 payload 20')
    const quoted = buildBytes('udp 10.244.1.5:1000 > 10.244.2.9:53 payload 20 ttl 63')
    const error = (from: string): Uint8Array => {
      const bytes = buildBytes(`icmp ${from} > 10.244.1.5 type 3 payload ${quoted.length}`)
      bytes.set(quoted, 28)
      const view = new DataView(bytes.buffer)
      view.setUint16(22, 0)
      let sum = 0
      for (let i = 20; i < bytes.length; i += 2) sum += view.getUint16(i)
      view.setUint16(22, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
      return bytes
    }
    for (const [from, shown] of [
      ['10.244.2.9', '10.96.0.53'],
      ['10.244.2.1', '10.244.2.1'],
    ] as const) {
      const packet = envelope(error(from))
      expect(describeVerdict(fromPeer(packet, 0, tables))).toBe('pod 3')
      const { view, at: start, end } = packet
      expect(formatAddress([0, 0, 0xffff, ipv4.srcAddr(view, start)])).toBe(shown)
      const inner = start + 28
      expect(ipv4.verifyChecksum(view, inner)).toBe(true)
      expect(formatAddress([0, 0, 0xffff, ipv4.dstAddr(view, inner)])).toBe('10.96.0.53')
      expect([view.getUint16(inner + 20), view.getUint16(inner + 22)]).toEqual([1000, 53])
      let sum = 0
      for (let i = start + 20; i < end; i += 2) sum += view.getUint16(i)
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
      expect(sum).toBe(0xffff)
    }
  })
})
