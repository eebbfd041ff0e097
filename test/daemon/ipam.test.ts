/** Addresses of a node: the arithmetic of ranges, and the allocator against the rules: in turn, resting, never reserved ones. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { COOL_DOWN_MS, gatewayOf, Ipam, natAddressOf } from '../../daemon/ipam/ipam.ts'
import { addressAt, indexOf } from '../../daemon/ipam/range.ts'

const DUAL = ['10.244.1.0/24', 'fd00:10:244:1::/64']

function ipamOf(ranges: string[]) {
  const clock = { ms: 1_000_000 }
  return { clock, ipam: new Ipam({ ranges, now: () => clock.ms }) }
}

describe('range', () => {
  test.each([
    ['10.244.1.0/24', '10.244.1.1', '10.244.1.2'],
    ['10.244.1.77/24', '10.244.1.1', '10.244.1.2'],
    ['fd00:10:244:1::/64', 'fd00:10:244:1::1', 'fd00:10:244:1::2'],
    ['192.168.0.128/25', '192.168.0.129', '192.168.0.130'],
  ])('%s has the gateway %s and the NAT address %s', (range, gateway, nat) => {
    expect(gatewayOf(range)).toBe(gateway)
    expect(natAddressOf(range)).toBe(nat)
  })

  test('an index and its address are each other’s inverse', () => {
    const ranges = fc.constantFrom(...DUAL, '10.8.0.0/13', 'fd00::ff00/104')
    fc.assert(
      fc.property(ranges, fc.nat(255), (range, index) => {
        expect(indexOf(range, addressAt(range, index))).toBe(index)
      }),
    )
  })

  test.each([
    ['10.244.1.0/24', '10.244.2.5'],
    ['10.244.1.0/24', 'fd00:10:244:1::5'],
    ['fd00:10:244:1::/64', 'fd00:10:244:1::1:0'],
  ])('%s does not hand out %s', (range, address) => {
    expect(indexOf(range, address)).toBeUndefined()
  })
})

describe('allocate', () => {
  test('gives one host index in both families, in turn, from 3', () => {
    const { ipam } = ipamOf(DUAL.toReversed())
    expect(ipam.allocate()).toEqual(['10.244.1.3', 'fd00:10:244:1::3'])
    expect(ipam.allocate()).toEqual(['10.244.1.4', 'fd00:10:244:1::4'])
    ipam.release(['10.244.1.3', 'fd00:10:244:1::3'])
    expect(ipam.allocate()).toEqual(['10.244.1.5', 'fd00:10:244:1::5'])
  })

  test.each([
    [['10.244.1.0/24'], 252],
    [['10.244.1.0/29'], 4],
    [['10.244.1.0/30'], 0],
    [['10.244.1.0/32'], 0],
    [['fd00::/125'], 5],
    [DUAL, 252],
    [['fd00:10:244:1::/64'], 65533],
    [['10.0.0.0/8'], 65533],
    [[], 0],
  ])('%j has room for %i pods, then says so', (ranges, count) => {
    const { ipam } = ipamOf(ranges)
    expect(ipam.freeCount).toBe(count)
    const addresses = new Set<string>()
    for (let i = 0; i < count; i++) addresses.add(ipam.allocate()[0]!)
    expect(addresses.size).toBe(count)
    for (const range of ranges) expect(addresses).not.toContain(gatewayOf(range))
    expect(ipam.freeCount).toBe(0)
    expect(() => ipam.allocate()).toThrow(expect.objectContaining({ code: 'no-address-left' }))
  })

  test('takes the address that rested longest where only resting ones are left', () => {
    const { ipam, clock } = ipamOf(['10.244.1.0/29'])
    const all = [ipam.allocate(), ipam.allocate(), ipam.allocate(), ipam.allocate()]
    ipam.release(all[2]!)
    clock.ms += 10
    ipam.release(all[0]!)
    expect(ipam.allocate()).toEqual(all[2])
    expect(ipam.allocate()).toEqual(all[0])
  })

  test('an address that rested for a minute is as free as any', () => {
    const { ipam, clock } = ipamOf(['10.244.1.0/29'])
    const [first, second] = [ipam.allocate(), ipam.allocate(), ipam.allocate(), ipam.allocate()]
    ipam.release(second!)
    clock.ms += 1
    ipam.release(first!)
    clock.ms += COOL_DOWN_MS
    expect(ipam.allocate()).toEqual(first)
  })

  test('takes up the turn behind what another polderd released', () => {
    const { ipam, clock } = ipamOf(DUAL)
    ipam.rest(['10.244.1.9'], clock.ms)
    expect(ipam.allocate()[0]).toBe('10.244.1.10')
  })

  test('what another polderd released goes on resting, also where the clock was set back', () => {
    const { ipam, clock } = ipamOf(['10.244.1.0/29'])
    ipam.rest(['10.244.1.3'], clock.ms - 20_000)
    ipam.rest(['10.244.1.4'], clock.ms + 3_600_000)
    expect(ipam.allocate()).toEqual(['10.244.1.5'])
    expect(ipam.allocate()).toEqual(['10.244.1.6'])
    clock.ms += 40_000
    expect(ipam.allocate()).toEqual(['10.244.1.3'])
    clock.ms += 20_000
    expect(ipam.allocate()).toEqual(['10.244.1.4'])
  })
})

describe('a wanted address', () => {
  test.each([
    [['10.244.1.50'], ['10.244.1.50', 'fd00:10:244:1::32']],
    [['fd00:10:244:1:0::99'], ['10.244.1.153', 'fd00:10:244:1::99']],
    [
      ['10.244.1.50', 'fd00:10:244:1::99'],
      ['10.244.1.50', 'fd00:10:244:1::99'],
    ],
  ])('%j gives %j, and is taken until it is released', (wanted, expected) => {
    const { ipam } = ipamOf(DUAL)
    expect(ipam.allocate(wanted)).toEqual(expected)
    for (const address of expected) {
      expect(() => ipam.allocate([address])).toThrow(expect.objectContaining({ code: 'address-unavailable' }))
    }
    ipam.release(expected)
    expect(ipam.freeCount).toBe(252)
    expect(ipam.allocate(wanted)).toEqual(expected)
  })

  test('takes nobody’s turn', () => {
    const { ipam } = ipamOf(DUAL)
    ipam.allocate(['10.244.1.4'])
    expect([ipam.allocate()[0], ipam.allocate()[0]]).toEqual(['10.244.1.3', '10.244.1.5'])
  })

  test.each([
    ['10.244.2.5', 'none that this node hands out'],
    ['10.244.1.0', 'for the node itself'],
    ['10.244.1.2', 'for the node itself'],
    ['10.244.1.255', 'none that this node hands out'],
    ['fd00:10:244:1::ff', 'none that this node hands out'],
    ['fd00:10:244:1::1:0', 'none that this node hands out'],
  ])('%s cannot be had: %s', (address, why) => {
    const { ipam } = ipamOf(DUAL)
    expect(() => ipam.allocate(['10.244.1.9', address])).toThrow(why)
    expect(ipam.freeCount).toBe(252)
  })
})

test('addresses outside the ranges are neither kept nor given back', () => {
  const { ipam } = ipamOf(DUAL)
  ipam.reserve(['10.9.9.9', '10.244.1.1', '10.244.1.255', 'fd00::5'])
  ipam.release(['10.9.9.9', '10.244.1.1', '10.244.1.77'])
  expect(ipam.freeCount).toBe(252)
})

/** Slow and plain: every address a record in a list, in the order of the range. */
class Model {
  readonly hosts = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14].map((index) => ({ index, used: false, at: -Infinity }))
  next = 3

  allocate(nowMs: number): number | undefined {
    const inTurn = [
      ...this.hosts.filter(({ index }) => index >= this.next),
      ...this.hosts.filter(({ index }) => index < this.next),
    ].filter(({ used }) => !used)
    const rested = inTurn.find(({ at }) => nowMs - at >= COOL_DOWN_MS)
    const chosen = rested ?? inTurn.reduce((a, b) => (a && a.at <= b.at ? a : b), inTurn[0])
    if (chosen !== undefined) this.take(chosen.index)
    return chosen?.index
  }

  take(index: number): void {
    this.hosts.find((host) => host.index === index)!.used = true
    this.next = index + 1
  }

  release(index: number, nowMs: number): void {
    const host = this.hosts.find((other) => other.index === index)!
    if (host.used) Object.assign(host, { used: false, at: nowMs })
  }
}

test('does what a naive model does', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('allocate' as const) }),
    fc.record({
      kind: fc.constantFrom('release' as const, 'reserve' as const),
      index: fc.integer({ min: 3, max: 14 }),
    }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 1_000, 29_999, 60_000) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const { ipam, clock } = ipamOf(['10.0.0.0/28', 'fd00::/124'])
      const model = new Model()
      const bothOf = (index: number) => [`10.0.0.${index}`, `fd00::${index.toString(16)}`]
      for (const each of steps) {
        if (each.kind === 'wait') clock.ms += each.ms
        else if (each.kind === 'release') {
          ipam.release(bothOf(each.index))
          model.release(each.index, clock.ms)
        } else if (each.kind === 'reserve') {
          ipam.reserve(bothOf(each.index))
          model.take(each.index)
        } else {
          const expected = model.allocate(clock.ms)
          if (expected === undefined) expect(() => ipam.allocate()).toThrow('no address is left')
          else expect(ipam.allocate()).toEqual(bothOf(expected))
        }
        expect(ipam.freeCount).toBe(model.hosts.filter(({ used }) => !used).length)
      }
    }),
    { numRuns: 500 },
  )
})
