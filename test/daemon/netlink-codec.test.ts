/**
 * The rtnetlink codec on bytes: requests against bytes written down by hand from the headers' layout, answers against
 * what a kernel would send, and properties: what is encoded is decoded again, and no input makes the decoder throw
 * anything but a NetlinkError.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeAddress, encodeAddress } from '../../daemon/netlink/address.ts'
import { formatIp, parseIp, parsePrefix } from '../../daemon/netlink/ip-text.ts'
import {
  decodeLink,
  encodeLinkQuery,
  encodeLinkSettings,
  encodeLinkState,
  encodeVeth,
} from '../../daemon/netlink/link.ts'
import {
  attribute,
  concat,
  decodeAttributes,
  decodeError,
  decodeMessages,
  encodeMessage,
  NLMSG_DONE,
  NLMSG_ERROR,
  nest,
} from '../../daemon/netlink/message.ts'
import { NetlinkError } from '../../daemon/netlink/netlink-error.ts'
import { decodeRoute, decodeRouteAnswer, encodeRoute, encodeRouteDeletion } from '../../daemon/netlink/route.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s|]/g, ''), 'hex'))
const same = (got: Uint8Array, want: string) => expect(hex(got)).toBe(hex(bytes(want)))

describe('messages', () => {
  test('a request is its header and its body', () => {
    const request = encodeMessage({ type: 18, flags: 0x305, sequence: 0x01020304 }, bytes('aabbccdd'))
    same(request, '14000000 1200 0503 04030201 00000000 | aabbccdd')
  })

  test('several in one datagram, padded to 4', () => {
    const datagram = bytes('11000000 1000 0200 01000000 07000000 ff 000000 | 10000000 0300 0000 01000000 07000000')
    expect(decodeMessages(datagram)).toEqual([
      { type: 16, flags: 2, sequence: 1, body: Uint8Array.of(0xff) },
      { type: NLMSG_DONE, flags: 0, sequence: 1, body: new Uint8Array() },
    ])
  })

  for (const [what, datagram] of [
    ['a length of zero', '00000000 1000 0200 01000000 07000000'],
    ['a length below the header', '0f000000 1000 0200 01000000 07000000'],
    ['a length past the end', '11000000 1000 0200 01000000 07000000'],
    ['half a header', '10000000 1000 02'],
  ] as const)
    test(`${what} is refused`, () => {
      expect(() => decodeMessages(bytes(datagram))).toThrow(NetlinkError)
    })

  test('round trip', () => {
    const message = fc.record({
      type: fc.integer({ min: 0, max: 0xffff }),
      flags: fc.integer({ min: 0, max: 0xffff }),
      sequence: fc.integer({ min: 0, max: 0xffffffff }),
      body: fc.uint8Array({ maxLength: 64 }).map((body) => Uint8Array.from(body)),
    })
    fc.assert(
      fc.property(fc.array(message), (messages) => {
        const padded = messages.flatMap((one) => {
          const encoded = encodeMessage(one, one.body)
          return [encoded, new Uint8Array(-encoded.length & 3)]
        })
        expect(decodeMessages(concat(padded))).toEqual(messages)
      }),
    )
  })
})

describe('acknowledgements', () => {
  const decode = (flags: number, body: string, type = NLMSG_ERROR) =>
    decodeError({ type, flags, sequence: 1, body: bytes(body) }, 'add route')
  const quotedHeader = '18000000 1800 0506 01000000 00000000'

  test('0 is success', () => {
    expect(decode(0x100, `00000000 ${quotedHeader}`)).toBeUndefined()
  })

  test('without a text the errno speaks', () => {
    const error = decode(0x100, `efffffff ${quotedHeader}`)!
    expect(error).toMatchObject({ errno: 17, code: 'EEXIST', operation: 'add route' })
    expect(error.message).toBe('add route: file already exists (EEXIST)')
  })

  test("the kernel's sentence, behind a capped quote", () => {
    const error = decode(0x300, `eaffffff ${quotedHeader} | 0b00 0100 42616420 6d7500 00`)!
    expect(error.message).toBe('add route: Bad mu (EINVAL)')
  })

  test("the kernel's sentence, behind the whole request and another attribute", () => {
    const quote = `${quotedHeader} 1122334455667788`
    const error = decode(0x200, `eaffffff ${quote} | 0800 0200 10000000 | 0800 0100 42616400`)!
    expect(error.message).toBe('add route: Bad (EINVAL)')
  })

  test("the kernel's sentence, behind a request whose last attribute lacks its padding", () => {
    const quote = `15000000 1800 0506 01000000 00000000 11223344 55 000000`
    expect(decode(0x200, `eaffffff ${quote} | 0800 0100 42616400`)!.message).toBe('add route: Bad (EINVAL)')
  })

  test('a dump that ends in an error', () => {
    expect(decode(0x200, 'f0ffffff 0800 0100 42616400', NLMSG_DONE)!.message).toBe('add route: Bad (EBUSY)')
    expect(decode(0, '00000000', NLMSG_DONE)).toBeUndefined()
  })

  test('an errno without a name keeps its number', () => {
    expect(decode(0x100, `0cfeffff ${quotedHeader}`)).toMatchObject({ errno: 500, code: 'E500' })
  })
})

describe('attributes', () => {
  test('round trip, whatever types and lengths', () => {
    const one = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 70 }))
    fc.assert(
      fc.property(fc.uniqueArray(one, { selector: ([type]) => type }), (list) => {
        const encoded = list.map(([type, value]) => attribute(type, value))
        const decoded = [...decodeAttributes(concat(encoded))].map(([type, value]) => [type, hex(value)])
        expect(decoded).toEqual(list.map(([type, value]) => [type, hex(value)]))
        const inside = decodeAttributes(nest(7, ...encoded)).get(7)!
        expect(decodeAttributes(inside).size).toBe(list.length)
      }),
    )
  })

  for (const [what, text] of [
    ['a length of zero', '0000 0100'],
    ['a length past the end', '0900 0100 00000000'],
    ['half a header', '0400 01'],
  ] as const)
    test(`${what} is refused`, () => {
      expect(() => decodeAttributes(bytes(text))).toThrow(NetlinkError)
    })

  test('the last one may lack its padding', () => {
    expect(decodeAttributes(bytes('0500 0300 aa'))).toEqual(new Map([[3, Uint8Array.of(0xaa)]]))
  })
})

describe('links', () => {
  const noLink = '00 00 0000 00000000 00000000 00000000'

  test('queries', () => {
    same(encodeLinkQuery(), noLink)
    same(encodeLinkQuery(3), '00 00 0000 03000000 00000000 00000000')
    same(encodeLinkQuery('eth0'), `${noLink} | 0900 0300 65746830 00 000000`)
    same(encodeLinkQuery('a-name-past-15-b').subarray(16, 20), '1500 3500') // IFLA_ALT_IFNAME
  })

  test('settings and state', () => {
    const settings = encodeLinkSettings(3, {
      name: 'p0',
      mtuBytes: 1450,
      txQueueLength: 1000,
      gsoMaxSizeBytes: 62000,
      masterIndex: 9,
      addrGenModeNone: true,
    })
    same(
      settings,
      `00 00 0000 03000000 00000000 00000000
       0700 0300 703000 00 | 0800 0400 aa050000 | 0800 0d00 e8030000 | 0800 2900 30f20000 | 0800 0a00 09000000
       1000 1a80 | 0c00 0a80 | 0500 0800 01 000000`,
    )
    same(encodeLinkState(3, true), '00 00 0000 03000000 01000000 01000000')
    same(encodeLinkState(3, false), '00 00 0000 03000000 00000000 01000000')
  })

  test('a veth pair', () => {
    same(
      encodeVeth('a0', { name: 'b0', netnsFd: 21 }),
      `${noLink} | 0700 0300 613000 00
       3800 1280 | 0900 0100 76657468 00 000000 | 2800 0280 | 2400 0100 ${noLink} 0700 0300 623000 00 0800 1c00 15000000`,
    )
  })

  test('an answer', () => {
    const statistics = `4400 1700 ${['0a', '14', '00', '00', '00', '00', '1e', '28'].map((low) => `${low}00000000000000`).join('')}`
    const body = bytes(`00 00 0100 05000000 43100100 00000000
      0900 0300 65746830 00 000000 | 0a00 0100 0258a1b2c3d4 0000 | 0800 0400 dc050000 | 0800 0d00 f4010000
      0800 2900 00000100 | 0800 0a00 07000000 | ${statistics} | 1000 1280 0900 0100 76657468 00 000000`)
    expect(decodeLink(body)).toEqual({
      index: 5,
      name: 'eth0',
      kind: 'veth',
      mtuBytes: 1500,
      mac: '02:58:a1:b2:c3:d4',
      up: true,
      lowerUp: true,
      loopback: false,
      flags: 0x11043,
      txQueueLength: 500,
      gsoMaxSizeBytes: 65536,
      masterIndex: 7,
      statistics: { rxPackets: 10, txPackets: 20, rxDropped: 30, txDropped: 40 },
    })
  })
})

describe('addresses', () => {
  test('requests of both families; IPv6 without duplicate address detection', () => {
    same(encodeAddress(3, '10.244.1.1/32'), '02 20 00 00 03000000 | 0800 0200 0af40101 | 0800 0100 0af40101')
    const fd00 = 'fd00 0010 0244 0001 0000 0000 0000 0001'
    same(
      encodeAddress(3, 'fd00:10:244:1::1/128'),
      `0a 80 00 00 03000000 | 1400 0200 ${fd00} | 1400 0100 ${fd00} | 0800 0800 02000000`,
    )
  })

  test('answers', () => {
    expect(decodeAddress(bytes('02 18 80 fd 02000000 | 0800 0200 0a000001 | 0800 0100 0a000002'))).toEqual({
      index: 2,
      family: 4,
      address: '10.0.0.1',
      prefixLength: 24,
      peer: '10.0.0.2',
      scope: 'link',
      avoid: false,
    })
    const tentative = decodeAddress(bytes(`0a 40 40 00 02000000 | 1400 0100 ${'fd'.padEnd(30, '0')}01`))
    expect(tentative).toMatchObject({ family: 6, address: 'fd00::1', prefixLength: 64, avoid: true })
    expect(tentative).not.toHaveProperty('peer')
    expect(decodeAddress(bytes('1d 00 00 00 02000000'))).toBeUndefined()
  })
})

describe('routes', () => {
  test('on the link, through a gateway, and everything', () => {
    same(
      encodeRoute({ dst: '10.244.1.1/32', index: 3 }),
      '02 20 00 00 fe 72 fd 01 00000000 | 0800 0100 0af40101 | 0800 0400 03000000',
    )
    same(
      encodeRoute({ dst: 'default', index: 3, via: '10.244.1.1', src: '10.244.1.7', mtuBytes: 1450, metric: 5 }),
      `02 00 00 00 fe 72 00 01 00000000 | 0800 0400 03000000 | 0800 0500 0af40101 | 0800 0600 05000000
       0800 0700 0af40107 | 0c00 0880 0800 0200 aa050000`,
    )
    same(
      encodeRoute({ dst: '::/0', index: 3, scope: 'link', protocol: 4 }),
      '0a 00 00 00 fe 04 fd 01 00000000 | 0800 0400 03000000',
    )
  })

  test('IPv4 through an IPv6 gateway', () => {
    same(
      encodeRoute({ dst: '0.0.0.0/0', index: 3, via: 'fe80::1' }),
      `02 00 00 00 fe 72 00 01 00000000 | 0800 0400 03000000 | 1600 1200 0a00 fe80${'00'.repeat(13)}01 0000`,
    )
  })

  test('a deletion names what it is given, of any scope and type', () => {
    same(encodeRouteDeletion({ dst: '10.0.0.0/8' }), '02 08 00 00 fe 72 ff 00 00000000 | 0800 0100 0a000000')
  })

  test("'default' needs somebody who knows the family", () => {
    expect(() => encodeRoute({ dst: 'default', index: 3 })).toThrow("'default' without via or src")
  })

  test('answers', () => {
    const body = bytes(`02 10 00 00 fe 72 00 01 00000000 | 0800 0f00 2c010000 | 0800 0100 0af40000
      0800 0600 64000000 | 0800 0400 03000000 | 0800 0500 0a000001 | 0800 0700 0a000002 | 0c00 0880 0800 0200 aa050000`)
    expect(decodeRoute(body)).toEqual({
      family: 4,
      dst: '10.244.0.0/16',
      type: 'unicast',
      index: 3,
      via: '10.0.0.1',
      src: '10.0.0.2',
      scope: 'universe',
      table: 300,
      protocol: 114,
      metric: 100,
      mtuBytes: 1450,
    })
    expect(decodeRouteAnswer(body)).toEqual({ index: 3, via: '10.0.0.1', src: '10.0.0.2' })
  })

  test('several next hops', () => {
    const body = bytes(`02 00 00 00 fe 03 00 01 00000000 | 2400 0900
      1000 00 00 03000000 0800 0500 0a000001 | 1000 00 00 04000000 0800 0500 0a000002`)
    expect(decodeRoute(body)).toMatchObject({
      dst: '0.0.0.0/0',
      nextHops: [
        { index: 3, via: '10.0.0.1' },
        { index: 4, via: '10.0.0.2' },
      ],
    })
  })

  test('other families and cached entries are none', () => {
    expect(decodeRoute(bytes('1c 00 00 00 fe 00 00 01 00000000'))).toBeUndefined()
    expect(decodeRoute(bytes('0a 00 00 00 fe 00 00 01 00020000'))).toBeUndefined()
  })
})

describe('text', () => {
  test('addresses and prefixes round trip', () => {
    const address = fc.oneof(
      fc.ipV4(),
      fc.ipV6().map((text) => formatIp(parseIp(text).bytes)),
    )
    fc.assert(
      fc.property(address, fc.nat(32), (text, length) => {
        const prefix = parsePrefix(`${text}/${length}`)
        expect(formatIp(prefix.bytes)).toBe(text)
        expect(prefix.length).toBe(length)
      }),
    )
  })

  for (const text of [
    '10.1/8',
    '012.0.0.1/8',
    '10.0.0.1',
    '10.0.0.1/33',
    '10.0.0.1/-1',
    '10.0.0.1/',
    'fe80::1%eth0/64',
    '/8',
    '',
  ])
    test(`'${text}' is refused by name`, () => {
      expect(() => parsePrefix(text)).toThrow(NetlinkError)
    })
})

describe('whatever arrives', () => {
  const decoders = [
    decodeLink,
    decodeAddress,
    decodeRoute,
    decodeRouteAnswer,
    (body: Uint8Array) => {
      for (const { type, flags, sequence, body: inner } of decodeMessages(body))
        decodeError({ type, flags, sequence, body: inner }, 'try')
    },
    (body: Uint8Array) => decodeError({ type: NLMSG_ERROR, flags: 0x200, sequence: 1, body }, 'try'),
  ]
  const survive = (body: Uint8Array) => {
    for (const decode of decoders) {
      try {
        decode(body)
      } catch (error) {
        expect(error).toBeInstanceOf(NetlinkError)
      }
    }
  }

  test('random bytes never throw anything but NetlinkError', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), survive), { numRuns: 3000 })
  })

  test('nor do well-formed attributes with values of any length, cut anywhere', () => {
    const value = fc.uint8Array({ maxLength: 40 })
    const plain = fc.tuple(fc.integer({ min: 1, max: 64 }), value).map(([type, bytes]) => attribute(type, bytes))
    const nested = fc
      .tuple(fc.integer({ min: 1, max: 30 }), fc.array(plain, { maxLength: 3 }))
      .map(([type, inner]) => nest(type, ...inner))
    const head = fc
      .tuple(fc.constantFrom(2, 10), fc.constantFrom(8, 12, 16), value)
      .map(([family, length, fill]) => concat([Uint8Array.of(family), fill, new Uint8Array(16)]).slice(0, length))
    const body = fc.tuple(head, fc.array(fc.oneof(plain, nested), { maxLength: 6 }), fc.nat(8))
    const cut = ([head, parts, missing]: [Uint8Array, Uint8Array[], number]) => {
      const whole = concat([head, ...parts])
      survive(whole.subarray(0, Math.max(0, whole.length - missing)))
    }
    fc.assert(fc.property(body, cut), { numRuns: 3000 })
  })
})
