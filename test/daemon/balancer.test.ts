/** Who answers for a load balancer address, by which lease, and in which words. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chooseAnnouncer } from '../../daemon/balancer/choice.ts'
import { announcementsOf, answerTo, hear, macBytes, solicitedGroupOf } from '../../daemon/balancer/neighbour-frames.ts'
import { FolderLeases } from '../../daemon/cluster/folder/leases.ts'
import { LEASE_EXPIRY_MS, LEASE_HOLD_MS } from '../../daemon/cluster/leases.ts'
import { parseAddress } from '../../packet/address.ts'
import * as icmpv6 from '../../packet/formats/icmpv6.ts'
import * as ipv6 from '../../packet/formats/ipv6.ts'
import { fromHex as hex } from '../support/hex.ts'

const A = '203.0.113.9'

describe('the choice', () => {
  const of = (alive: string[], holder?: string, nodes?: string[]): string | undefined =>
    chooseAnnouncer({ address: A, service: 'default/web', nodes }, alive, holder)

  test('is the same whatever the order, one of those that live, and spread over them', () => {
    const alive = ['n1', 'n2', 'n3', 'n4']
    expect(of(alive)).toBe(of(alive.toReversed()))
    const chosen = Array.from({ length: 200 }, (_, i) =>
      chooseAnnouncer({ address: `203.0.113.${i}`, service: 's', nodes: undefined }, alive, undefined),
    )
    for (const node of alive) expect(chosen.filter((one) => one === node).length).toBeGreaterThan(20)
    expect(of([])).toBeUndefined()
  })

  test('leaves an address where it is while that node lives, and moves no other when a node goes', () => {
    for (const holder of ['n1', 'n2', 'n3']) expect(of(['n1', 'n2', 'n3'], holder)).toBe(holder)
    const first = of(['n1', 'n2', 'n3'])!
    const rest = ['n1', 'n2', 'n3'].filter((node) => node !== first)
    expect(rest).toContain(of(rest, first))
    const other = rest[0]!
    expect(of(['n1', 'n2', 'n3'].filter((node) => node !== other))).toBe(first)
  })

  test('falls on nodes with an endpoint where the traffic policy is Local; on any where nobody has one', () => {
    expect(of(['n1', 'n2', 'n3'], 'n1', ['n2'])).toBe('n2')
    expect(of(['n1', 'n3'], 'n1', ['n2'])).toBe('n1')
    expect(of(['n1', 'n3'], 'n1', [])).toBe('n1')
  })
})

describe('leases', () => {
  let folder: string
  let nowMs: number
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'polder-leases-'))
    mkdirSync(join(folder, 'leases'))
    nowMs = 1_000_000
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  /** `offset`: every node has a clock of its own. */
  const leasesOf = (node: string, offset = 0): FolderLeases => new FolderLeases(folder, node, () => nowMs + offset)
  const files = (): Record<string, string[]> =>
    Object.fromEntries(
      readdirSync(join(folder, 'leases'))
        .filter((file) => file.endsWith('.yaml'))
        .map((file) => [file, JSON.parse(readFileSync(join(folder, 'leases', file), 'utf8')).addresses]),
    )

  test('an address is one node’s while it beats, and another’s when it has been silent', async () => {
    const [one, two] = [leasesOf('one'), leasesOf('two', 5_000_000)]
    await one.beat()
    await two.beat()
    await one.take([A])
    await two.take([A])
    expect([[...one.held], [...two.held]]).toEqual([[A], []])
    for (let i = 0; i < 10; i++) {
      nowMs += 300
      const { alive, holders } = await two.beat()
      await one.beat()
      expect([alive.sort(), holders.get(A)]).toEqual([['one', 'two'], 'one'])
    }
    // One falls silent: it stops before anybody takes over.
    while (one.mayAnswer()) nowMs += 50
    await two.beat()
    await two.take([A])
    expect([...two.held]).toEqual([])
    for (let i = 0; i < 10; i++) {
      nowMs += 300
      await two.beat()
    }
    await two.take([A])
    expect([...two.held]).toEqual([A])
    expect(files()).toEqual({ 'one.yaml': [], 'two.yaml': [A] })
    // It wakes up, and has lost it.
    expect(one.mayAnswer()).toBe(false)
    await one.beat()
    expect([[...one.held], one.mayAnswer()]).toEqual([[], true])
  })

  test('a process that comes back in time as the same node has what it had', async () => {
    const one = leasesOf('one')
    await one.beat()
    await one.take([A])
    nowMs += 1000
    const again = leasesOf('one')
    expect(again.mayAnswer()).toBe(false)
    await again.beat()
    expect([[...again.held], again.mayAnswer()]).toEqual([[A], true])
  })

  test('given away and resigned, it is free at once', async () => {
    const [one, two] = [leasesOf('one'), leasesOf('two')]
    for (const leases of [one, two]) await leases.beat()
    await one.take([A])
    await one.give(A)
    await two.take([A])
    expect([[...one.held], [...two.held]]).toEqual([[], [A]])
    await two.resign()
    await one.take([A])
    expect([...one.held]).toEqual([A])
    expect(files()).toEqual({ 'one.yaml': [A] })
  })

  test('a third node does not take the hand of the second in the file of the first for a sign of life', async () => {
    const [one, two, three] = [leasesOf('one'), leasesOf('two'), leasesOf('three')]
    for (const leases of [one, two, three]) await leases.beat()
    await one.take([A, '203.0.113.10'])
    for (let i = 0; i < 10; i++) {
      nowMs += 300
      for (const leases of [two, three]) await leases.beat()
    }
    await two.take([A])
    const { alive } = await three.beat()
    expect(alive.sort()).toEqual(['three', 'two'])
    await three.take(['203.0.113.10'])
    expect(files()).toEqual({ 'one.yaml': [], 'two.yaml': [A], 'three.yaml': ['203.0.113.10'] })
  })

  test('whatever stalls, and whoever restarts: never do two nodes answer', async () => {
    expect(LEASE_HOLD_MS).toBeLessThan(LEASE_EXPIRY_MS)
    const steps = fc.array(
      fc.record({
        node: fc.nat(2),
        what: fc.constantFrom('beat', 'beat', 'take', 'give', 'restart'),
        passMs: fc.nat(900),
      }),
      { maxLength: 60 },
    )
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        rmSync(join(folder, 'leases'), { recursive: true })
        mkdirSync(join(folder, 'leases'))
        const nodes = [0, 1, 2].map((i) => leasesOf(`n${i}`, i * 777_777))
        for (const { node, what, passMs } of all) {
          nowMs += passMs
          if (what === 'restart') nodes[node] = leasesOf(`n${node}`, node * 777_777)
          if (what === 'take') await nodes[node]!.beat().then(() => nodes[node]!.take([A]))
          if (what === 'give') await nodes[node]!.give(A)
          if (what === 'beat') await nodes[node]!.beat()
          expect(nodes.filter((leases) => leases.mayAnswer() && leases.held.has(A)).length).toBeLessThanOrEqual(1)
        }
      }),
      { numRuns: 60 },
    )
  }, 60_000)
})

describe('frames', () => {
  const own = macBytes('02:00:00:00:00:0a')

  test('a question by ARP and its answer', () => {
    const question = hex(`ffffffffffff 020000000007 0806
      0001 0800 06 04 0001  020000000007 c6120064  000000000000 cb007109`)
    const heard = hear(question)!
    expect(heard).toMatchObject({ kind: 'question', address: A, from: '198.18.0.100' })
    expect(answerTo(heard, own)).toEqual(
      hex(`020000000007 02000000000a 0806
        0001 0800 06 04 0002  02000000000a cb007109  020000000007 c6120064`),
    )
  })

  test('what others announce is a claim, and so are our own announcements, in both forms', () => {
    const frames = announcementsOf(A, own)
    expect(frames).toHaveLength(2)
    for (const frame of frames) {
      expect([...frame.subarray(0, 6)]).toEqual([255, 255, 255, 255, 255, 255])
      expect(hear(frame)).toMatchObject({ kind: 'claim', address: A, mac: own })
    }
  })

  test('a neighbour solicitation, and the advertisement: solicited to who asked, unsolicited to all', () => {
    const question = solicitation('fd00:198:18::100', 'fd00:198:18::200')
    const heard = hear(question)!
    expect(heard).toMatchObject({ kind: 'question', address: 'fd00:198:18::200', from: 'fd00:198:18::100' })
    const answer = answerTo(heard, own)
    expect([...answer.subarray(0, 6)]).toEqual([2, 0, 0, 0, 0, 7])
    expect(flagsOf(answer)).toBe(0x60000000)
    const [told] = announcementsOf('fd00:198:18::200', own)
    expect([...told!.subarray(0, 6)]).toEqual([0x33, 0x33, 0, 0, 0, 1])
    expect(flagsOf(told!)).toBe(0x20000000)
    for (const frame of [answer, told!]) expect([...frame.subarray(-6)]).toEqual([...own])
    // Who asks whether the address is free is told before everybody (RFC 4861, 7.2.4).
    expect(answerTo(hear(solicitation('::', 'fd00:198:18::200'))!, own)).toEqual(told)
    expect([...solicitedGroupOf('fd00:198:18::12:3456')]).toEqual([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
  })

  test('what was forwarded, cut short or has a wrong sum is nothing', () => {
    const good = solicitation('fd00:198:18::100', 'fd00:198:18::200')
    const far = good.slice()
    far[14 + 7] = 64
    const wrong = good.slice()
    wrong[wrong.length - 1]! ^= 1
    for (const frame of [far, wrong, good.slice(0, 60), good.slice(0, 10)]) expect(hear(frame)).toBeUndefined()
    fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => hear(bytes) === undefined))
  })

  function flagsOf(frame: Uint8Array): number {
    const view = new DataView(frame.buffer)
    const message = 14 + ipv6.HEADER_LEN
    const length = ipv6.payloadLength(view, 14)
    expect(icmpv6.verifyChecksum(view, message, frame.length, ipv6.pseudoHeader(view, 14, 58, length))).toBe(true)
    expect([icmpv6.type(view, message), ipv6.hopLimit(view, 14)]).toEqual([icmpv6.TYPE_NEIGHBOR_ADVERTISEMENT, 255])
    return view.getUint32(message + 4)
  }

  function solicitation(from: string, target: string): Uint8Array {
    const frame = new Uint8Array(14 + 40 + 24)
    frame.set([0x33, 0x33, 0xff, 0, 2, 0, 2, 0, 0, 0, 0, 7, 0x86, 0xdd])
    const view = new DataView(frame.buffer)
    const words = (at: number, text: string): void => {
      for (const [i, word] of parseAddress(text).entries()) view.setInt32(at + i * 4, word)
    }
    ipv6.init(view, 14)
    ipv6.setPayloadLength(view, 14, 24)
    ipv6.setNextHeader(view, 14, 58)
    ipv6.setHopLimit(view, 14, 255)
    words(14 + 8, from)
    words(14 + 24, 'ff02::1:ff00:200')
    icmpv6.init(view, 54)
    icmpv6.setType(view, 54, icmpv6.TYPE_NEIGHBOR_SOLICITATION)
    words(54 + 8, target)
    icmpv6.fillChecksum(view, 54, frame.length, ipv6.pseudoHeader(view, 14, 58, 24))
    return frame
  }
})
