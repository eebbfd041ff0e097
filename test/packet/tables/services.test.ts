/**
 * The services that the path reads, against a naive model: a list of services, searched from one end to the other, while
 * services come, change and go at random. What was handed out before stays as it was. And what it takes in memory.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress, parseAddress } from '../../../packet/address.ts'
import { FlowKey } from '../../../packet/flow-key.ts'
import { FrontendMap } from '../../../packet/tables/frontend-map.ts'
import { ServiceBuilder } from '../../../packet/tables/service-builder.ts'
import type { ServiceBuffers, ServicePort } from '../../../packet/tables/service-port.ts'
import { FROM_OUTSIDE, ServiceTable } from '../../../packet/tables/services.ts'

const address = fc.oneof(
  fc.nat(6).map((n) => `10.96.0.${n}`),
  fc.nat(6).map((n) => `fd00:10:96::${n + 1}`),
)
const frontend = fc.record(
  { address, port: fc.constantFrom(53, 80), sharesAddress: fc.boolean() },
  { requiredKeys: ['address', 'port'] },
)
const endpoint = fc.record({
  address: fc.oneof(
    { weight: 4, arbitrary: fc.nat(200).map((n) => `10.244.1.${n}`) },
    fc.nat(9).map((n) => `fd00::${n + 1}`),
  ),
  port: fc.integer({ min: 1, max: 65_535 }),
  // Few, so that several services have the same, and those of 31 bits.
  identity: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 0x7fffffff })),
})

const servicePort: fc.Arbitrary<ServicePort> = fc
  .record({
    identity: fc.nat(1000),
    protocol: fc.constantFrom(6, 17, 132),
    frontends: fc.array(frontend, { maxLength: 4 }),
    endpoints: fc.uniqueArray(endpoint, { maxLength: 12, selector: ({ identity }) => identity }),
    usable: fc.nat(20),
    sides: fc.array(fc.nat(3), { minLength: 12, maxLength: 12 }),
    affinitySeconds: fc.nat(3),
    sourceRanges: fc.subarray(['198.51.100.0/24', '10.0.0.0/8', 'fd00::/16']),
  })
  .map(({ sides, ...port }) => ({
    ...port,
    inside: port.endpoints.flatMap((_, i) => (sides[i]! & 1 ? i : [])),
    outside: port.endpoints.flatMap((_, i) => (sides[i]! & 2 ? i : [])),
  }))

const NAMES = ['a', 'b', 'c', 'd', 'e']
const change = fc.tuple(fc.constantFrom(...NAMES), fc.array(servicePort, { maxLength: 3 }))

const KEYS = [...Array(7).keys()].flatMap((n) =>
  [`10.96.0.${n}`, `fd00:10:96::${n + 1}`].flatMap((one) =>
    [53, 80].flatMap((port) =>
      [6, 17, 132].flatMap((protocol) =>
        [false, true].map((fromOutside) => ({ address: one, port, protocol, fromOutside })),
      ),
    ),
  ),
)

/** Everything that can be asked of it. */
function answersOf(buffers: ServiceBuffers, identities: readonly number[]): unknown[] {
  const table = new ServiceTable(buffers)
  return KEYS.map(({ address: at, port, protocol, fromOutside }) => {
    const words = parseAddress(at)
    const met = table.find(...words, port, protocol)
    if (met === -1) return [table.hasAddress(...words)]
    const found = fromOutside ? met | FROM_OUTSIDE : met
    const shown = (one: number): string =>
      `${formatAddress([0, 1, 2, 3].map((i) => table.addressWord(one, i)) as never)} ${table.port(one)} ${table.identity(one)}`
    const flow = new FlowKey()
    ;[flow.dst0, flow.dst1, flow.dst2, flow.dst3] = words
    flow.ports = port
    flow.protocol = protocol
    return [
      table.hasAddress(...words),
      table.serviceIdentity(found),
      table.usable(found),
      table.affinitySeconds(found),
      Array.from({ length: table.count(found) }, (_, i) => shown(table.endpoint(found, i))).sort(),
      identities.map((identity) => table.isThere(flow, identity)),
      identities.map((identity) => table.endpointOf(found, identity) !== -1),
      identities.every((identity) => {
        const one = table.endpointOf(found, identity)
        return one === -1 || table.identity(one) === identity
      }),
      ['198.51.100.7', '10.1.2.3', 'fd00::9', '192.0.2.1'].map((from) => table.admits(found, ...parseAddress(from))),
    ]
  })
}

function modelOf(services: ReadonlyMap<string, readonly ServicePort[]>, identities: readonly number[]): unknown[] {
  const ports = [...services].sort(([one], [other]) => (one < other ? -1 : 1)).flatMap(([, each]) => each)
  return KEYS.map(({ address: at, port, protocol, fromOutside }) => {
    const hasAddress = ports.some((one) => one.frontends.some((f) => f.address === at && !f.sharesAddress))
    for (const one of ports) {
      const found = one.frontends.find((f) => f.address === at && f.port === port)
      if (found === undefined || one.protocol !== protocol) continue
      const offered = (fromOutside ? one.outside : one.inside).map((i) => one.endpoints[i]!)
      const first = (identity: number) => one.endpoints.find((each) => each.identity === identity)
      return [
        hasAddress,
        one.identity,
        one.usable,
        one.affinitySeconds,
        offered.map((each) => `${each.address} ${each.port} ${each.identity}`).sort(),
        identities.map((identity) => first(identity) !== undefined),
        identities.map((identity) => offered.some((each) => each.identity === identity)),
        true,
        [[0], [1], [2], []].map(
          ([range]) =>
            one.sourceRanges.length === 0 ||
            (range !== undefined && one.sourceRanges.includes(['198.51.100.0/24', '10.0.0.0/8', 'fd00::/16'][range]!)),
        ),
      ]
    }
    return [hasAddress]
  })
}

it('services that come, change and go answer as a list of them does, and what was handed out before stays', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const builder = new ServiceBuilder()
      const services = new Map<string, readonly ServicePort[]>()
      const identities = [...Array(41).keys(), ...changes.flatMap(([, ports]) => ports.flatMap(identitiesOf))]
      let before: { buffers: ServiceBuffers; answers: unknown[] } | undefined
      for (const [name, ports] of changes) {
        builder.set(name, ports)
        services.set(name, ports)
        const buffers = builder.build()
        const answers = answersOf(buffers, identities)
        expect(answers).toEqual(modelOf(services, identities))
        if (before !== undefined) expect(answersOf(before.buffers, identities)).toEqual(before.answers)
        before = { buffers, answers }
      }
    }),
    { numRuns: 150 },
  )
})

function identitiesOf({ endpoints }: ServicePort): number[] {
  return endpoints.map(({ identity }) => identity)
}

it('a map of frontends answers as a Map does while entries come and go', () => {
  const key = fc.tuple(fc.nat(30), fc.constantFrom(6, 17))
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.boolean()), { maxLength: 200 }), (steps) => {
      const map = new FrontendMap()
      const model = new Map<string, number>()
      for (const [i, [[w, what], isAdded]] of steps.entries()) {
        if (isAdded) map.set([0, 0, 0, w], what, i)
        else map.remove([0, 0, 0, w], what)
        if (isAdded) model.set(`${w} ${what}`, i)
        else model.delete(`${w} ${what}`)
      }
      const copy = new FrontendMap(map.copy())
      for (let w = 0; w <= 30; w++) {
        for (const what of [6, 17]) {
          expect(map.find(0, 0, 0, w, what)).toBe(model.get(`${w} ${what}`) ?? -1)
          expect(copy.find(0, 0, 0, w, what)).toBe(model.get(`${w} ${what}`) ?? -1)
        }
      }
    }),
  )
})

describe('10,000 services of 10 endpoints', () => {
  const many = (family: 4 | 6): Map<string, ServicePort[]> => {
    const text = (n: number, net: number): string =>
      family === 4 ? `10.${net}.${n >> 8}.${n & 255}` : `fd00:10:${net}::${n.toString(16)}`
    return new Map(
      Array.from({ length: 10_000 }, (_, s) => {
        const endpoints = Array.from({ length: 10 }, (_, e) => {
          const n = s * 10 + e
          // As hashes are: spread over 31 bits.
          const identity = (Math.imul(n + 1, 0x9e3779b1) >>> 1) | 1
          return { address: text(n & 0xffff, 244), port: 8080, identity }
        })
        const all = endpoints.map((_, i) => i)
        const frontends = [{ address: text(s, 96), port: 80 }]
        const port = { identity: s, protocol: 6, frontends, endpoints, usable: 10, inside: all, outside: all }
        return [`s${s}`, [{ ...port, affinitySeconds: 0, sourceRanges: [] }]]
      }),
    )
  }
  const bytesOf = ({ frontends, services, blocks }: ServiceBuffers): number =>
    frontends.byteLength + services.byteLength + blocks.byteLength

  it.each([4, 6] as const)('take at most 64 bytes an endpoint, whatever has changed since (IPv%d)', (family) => {
    const services = many(family)
    const builder = new ServiceBuilder()
    for (const [name, ports] of services) builder.set(name, ports)
    expect(bytesOf(builder.build()) / 100_000).toBeLessThanOrEqual(64)
    for (let i = 0; i < 30_000; i++) {
      const name = `s${(i * 7919) % 10_000}`
      const [port] = services.get(name)!
      builder.set(name, [{ ...port!, inside: port!.inside.slice(i & 7) }])
    }
    expect(bytesOf(builder.build()) / 100_000).toBeLessThanOrEqual(64)
    for (const name of services.keys()) builder.set(name, [])
    const empty = new ServiceTable(builder.build())
    expect(empty.hasAddress(...parseAddress(family === 4 ? '10.96.0.7' : 'fd00:10:96::7'))).toBe(false)
  })
})
