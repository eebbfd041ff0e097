/**
 * Netlink on a real kernel, judged by iproute2: what we read is what `ip -j` prints, what we write is what it then
 * shows, and errors carry the kernel's name and sentence.
 *
 *   polder-t<pid>-left                      polder-t<pid>-right
 *     eth0 ───────────── veth ─────────────── eth0
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeLinkQuery, RTM_GETLINK } from '../../daemon/netlink/link.ts'
import {
  decodeAttributes,
  decodeMessages,
  decodeU32,
  encodeMessage,
  NLM_F_DUMP,
  NLM_F_REQUEST,
} from '../../daemon/netlink/message.ts'
import { Netlink } from '../../daemon/netlink/netlink.ts'
import { NetlinkError } from '../../daemon/netlink/netlink-error.ts'
import { Notices } from '../../daemon/netlink/notices.ts'
import { type Route, RTPROT_POLDER } from '../../daemon/netlink/route.ts'
import { closeFd, openNetlink, receiveMessage, sendMessage } from '../../daemon/nic/nic.ts'
import { connect, Netns, until } from '../support/netns.ts'

let left: Netns
let right: Netns
let netlink: Netlink
let eth0: number

beforeEach(async () => {
  left = await Netns.create('left')
  right = await Netns.create('right')
  await connect(left, 'eth0', right, 'eth0')
  netlink = new Netlink(left.fd)
  eth0 = netlink.link('eth0')!.index
})

afterEach(async () => {
  netlink?.close()
  await left?.[Symbol.asyncDispose]()
  await right?.[Symbol.asyncDispose]()
})

function errorOf(call: () => unknown): NetlinkError {
  try {
    call()
  } catch (error) {
    if (error instanceof NetlinkError) return error
    throw error
  }
  throw new Error('no error')
}

/** What `ip -j` prints, in the fields that are compared. */
interface IpLink {
  ifindex: number
  ifname: string
  flags: string[]
  mtu: number
  txqlen: number
  gso_max_size: number
  address?: string
  master?: string
  linkinfo?: { info_kind?: string }
  stats64: Record<'rx' | 'tx', { packets: number; dropped: number }>
  addr_info: { family: string; local: string; address?: string; prefixlen: number; scope: string; deprecated?: true }[]
}

interface IpRoute {
  dst: string
  gateway?: string
  dev?: string
  type?: string
  prefsrc?: string
  scope?: string
  metric?: number
  metrics?: { mtu?: number }[]
}

/** Our routes as `ip -j route` prints them, in the fields that both know. */
function asIp(route: Route, names: Map<number, string>) {
  const scope = route.scope === 'universe' ? {} : { scope: route.scope }
  return {
    dst: route.dst.replace(/^(0\.0\.0\.0|::)\/0$/, 'default').replace(/\/(32|128)$/, ''),
    ...(route.via !== undefined && { gateway: route.via }),
    ...(route.index !== undefined && { dev: names.get(route.index) }),
    ...(route.type !== 'unicast' && { type: route.type }),
    ...(route.src !== undefined && { prefsrc: route.src }),
    ...(route.family === 4 && scope),
    metric: route.metric,
  }
}

function ipFields(route: IpRoute): Partial<IpRoute> {
  const { dst, gateway, dev, type, prefsrc, scope, metric = 0 } = route
  const fields = Object.entries({ dst, gateway, dev, type, prefsrc, scope, metric })
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined))
}

describe('reading', () => {
  test('links are those of ip', async () => {
    await left.run('ip', 'link', 'add', 'br0', 'type', 'bridge')
    await left.run('ip', 'tuntap', 'add', 'tun0', 'mode', 'tun')
    await left.run('ip', 'link', 'add', 'port0', 'mtu', '1400', 'master', 'br0', 'type', 'veth', 'peer', 'name', 'far0')
    await left.run('ip', 'link', 'property', 'add', 'dev', 'far0', 'altname', 'a-name-of-twenty-nine-letters')
    // The first packets (router solicitations) may fall between the two readings.
    await until(async () => {
      const theirs = await left.json<IpLink[]>('ip', '-j', '-d', '-s', 'link')
      const names = new Map(theirs.map((link) => [link.ifname, link.ifindex]))
      expect(theirs.map((link) => link.ifname)).toEqual(['lo', 'eth0', 'br0', 'tun0', 'far0', 'port0'])
      const ours = netlink.links().map((link) => ({
        ifindex: link.index,
        ifname: link.name,
        mtu: link.mtuBytes,
        txqlen: link.txQueueLength,
        gso: link.gsoMaxSizeBytes,
        address: link.mac,
        up: link.up,
        lowerUp: link.lowerUp,
        loopback: link.loopback,
        kind: link.kind,
        master: link.masterIndex,
        counters: Object.values(link.statistics),
      }))
      const want = theirs.map((link) => {
        const { flags, stats64 } = link
        const { rx, tx } = stats64
        return {
          ifindex: link.ifindex,
          ifname: link.ifname,
          mtu: link.mtu,
          txqlen: link.txqlen,
          gso: link.gso_max_size,
          address: link.address,
          up: flags.includes('UP'),
          lowerUp: flags.includes('LOWER_UP'),
          loopback: flags.includes('LOOPBACK'),
          kind: link.linkinfo?.info_kind,
          master: names.get(link.master ?? ''),
          counters: [rx.packets, tx.packets, rx.dropped, tx.dropped],
        }
      })
      expect(ours).toEqual(want)
      return true
    })
    expect(netlink.link('tun0')).toMatchObject({ kind: 'tun' })
    expect(netlink.link('tun0')).not.toHaveProperty('mac')
    expect(netlink.link('a-name-of-twenty-nine-letters')).toEqual(netlink.link('far0'))
    expect(netlink.link(netlink.link('port0')!.index)!.name).toBe('port0')
  })

  test('addresses are those of ip, of both families', async () => {
    await left.run('ip', 'address', 'add', '198.51.100.1', 'peer', '198.51.100.9/32', 'dev', 'eth0')
    await left.run('ip', 'address', 'add', '2001:db8::7/64', 'dev', 'eth0', 'preferred_lft', '0')
    const theirs = await left.json<IpLink[]>('ip', '-j', 'address')
    const want = theirs.flatMap((link) =>
      link.addr_info.map((info) => ({
        index: link.ifindex,
        family: info.family === 'inet' ? 4 : 6,
        address: info.local,
        prefixLength: info.prefixlen,
        ...(info.address !== undefined && { peer: info.address }),
        scope: info.scope === 'global' ? 'universe' : info.scope,
        avoid: info.deprecated === true,
      })),
    )
    const order = (a: { index: number; address: string }) => `${a.index} ${a.address}`
    const sorted = <T extends { index: number; address: string }>(list: T[]) =>
      list.toSorted((a, b) => order(a).localeCompare(order(b)))
    expect(sorted(netlink.addresses())).toEqual(sorted(want))
    expect(netlink.addresses().filter((address) => address.avoid)).toHaveLength(1)
    expect(netlink.addresses(1).map((address) => address.address)).toEqual(['127.0.0.1', '::1'])
  })

  test('routes are those of ip, of every type and table', async () => {
    const add = (...route: string[]) => left.run('ip', 'route', 'add', ...route)
    await left.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth0')
    await add('default', 'via', '192.0.2.2', 'metric', '7')
    await add('203.0.113.0/24', 'via', '192.0.2.3', 'src', '192.0.2.1', 'mtu', '1300')
    await add('198.51.100.4', 'dev', 'eth0')
    await add('blackhole', '198.18.0.0/15')
    await add('2001:db8:1::/48', 'dev', 'eth0')
    await add('2001:db8:2::/48', 'via', 'fe80::1', 'dev', 'eth0', 'metric', '9')
    await add('unreachable', '2001:db8:3::/48')
    await add('198.51.100.0/25', 'dev', 'eth0', 'table', '300')
    const names = new Map(netlink.links().map((link) => [link.index, link.name]))
    for (const [family, table] of [
      ['-4', 254],
      ['-6', 254],
      ['-4', 255],
      ['-6', 255],
      ['-4', 300],
    ] as const) {
      const theirs = await left.json<IpRoute[]>('ip', '-j', family, 'route', 'show', 'table', String(table))
      const ours = netlink.routes({ table }).filter((route) => route.family === -family)
      expect(ours.map((route) => asIp(route, names))).toEqual(theirs.map(ipFields))
      expect(ours.length).toBeGreaterThan(0)
    }
    expect(netlink.routes().find((route) => route.dst === '203.0.113.0/24')).toMatchObject({ mtuBytes: 1300 })
    await left.run(
      'ip',
      'route',
      'replace',
      '198.51.100.4',
      'nexthop',
      'via',
      '192.0.2.5',
      'nexthop',
      'via',
      '192.0.2.6',
    )
    expect(netlink.routes().find((route) => route.dst === '198.51.100.4/32')!.nextHops).toEqual([
      { index: eth0, via: '192.0.2.5' },
      { index: eth0, via: '192.0.2.6' },
    ])
  })

  test('a dump of 5,000 routes comes whole, in many pieces', async () => {
    const script = `i=0; while [ $i -lt 5000 ]; do echo route add blackhole 198.18.$((i / 250)).$((i % 250)) table 301; i=$((i + 1)); done`
    await left.run('sh', '-c', `(${script}) | ip -batch -`)
    const found = netlink.routes({ table: 301 })
    expect(new Set(found.map((route) => route.dst)).size).toBe(5000)
  })
})

describe('writing', () => {
  test('settings of a link are what ip then shows', async () => {
    using there = new Netlink(right.fd)
    const { index } = there.link('eth0')!
    there.setLink(index, { up: false })
    expect(there.link(index)).toMatchObject({ up: false, lowerUp: false })
    const settings = { name: 'pod0', mtuBytes: 1450, txQueueLength: 4000, gsoMaxSizeBytes: 62000 }
    there.setLink(index, { ...settings, addrGenModeNone: true, up: true })
    const [shown] = await right.json('ip', '-j', '-d', 'link', 'show', 'pod0')
    expect(shown).toMatchObject({
      ifindex: index,
      mtu: 1450,
      txqlen: 4000,
      gso_max_size: 62000,
      inet6_addr_gen_mode: 'none',
    })
    // It never was up with another mode, hence has no link-local address.
    expect(there.addresses(index)).toEqual([])
    expect(there.link('eth0')).toBeUndefined()
  })

  test('gso_max_size holds for IPv4 too, without an attribute of its own', () => {
    netlink.setLink(eth0, { gsoMaxSizeBytes: 61000 })
    const fd = openNetlink(left.fd, 0)
    sendMessage(fd, encodeMessage({ type: RTM_GETLINK, flags: NLM_F_REQUEST, sequence: 1 }, encodeLinkQuery(eth0)))
    const into = new Uint8Array(65536)
    const [answer] = decodeMessages(into.subarray(0, receiveMessage(fd, into)))
    closeFd(fd)
    const IFLA_GSO_IPV4_MAX_SIZE = 63
    const limit = decodeAttributes(answer!.body.subarray(16)).get(IFLA_GSO_IPV4_MAX_SIZE)
    // Absent before Linux 6.3, where one limit served both families.
    if (limit) expect(decodeU32(limit)).toBe(61000)
  })

  test('bridges and veth pairs come, join and go', async () => {
    const bridge = netlink.addBridge('br1')
    const port = netlink.addVeth('port1', { name: 'eth1', netnsFd: right.fd })
    const local = netlink.addVeth('here0', { name: 'here1' })
    netlink.setLink(port.index, { masterIndex: bridge.index, up: true })
    expect(await left.json('ip', '-j', 'link', 'show', 'master', 'br1')).toMatchObject([{ ifname: 'port1' }])
    expect(await right.json('ip', '-j', 'link', 'show', 'eth1')).toMatchObject([{ ifname: 'eth1' }])
    expect(netlink.link('here1')).toMatchObject({ kind: 'veth' })
    for (const { index } of [bridge, port, local]) expect(netlink.deleteLink(index)).toBe(true)
    expect(netlink.deleteLink(bridge.index)).toBe(false)
    expect((await left.json<IpLink[]>('ip', '-j', 'link')).map((link) => link.ifname)).toEqual(['lo', 'eth0'])
  })

  test('addresses of both families come and go; IPv6 can be used at once', async () => {
    netlink.addAddress(eth0, '192.0.2.1/24')
    netlink.addAddress(eth0, '2001:db8::1/64')
    const [shown] = await left.json<IpLink[]>('ip', '-j', 'address', 'show', 'eth0')
    expect(shown!.addr_info.filter((info) => info.scope === 'global')).toMatchObject([
      { family: 'inet', local: '192.0.2.1', prefixlen: 24, scope: 'global' },
      { family: 'inet6', local: '2001:db8::1', prefixlen: 64, scope: 'global', nodad: true },
    ])
    expect(JSON.stringify(shown)).not.toContain('tentative')
    for (const address of ['192.0.2.1/24', '2001:db8::1/64']) {
      expect(netlink.deleteAddress(eth0, address)).toBe(true)
      expect(netlink.deleteAddress(eth0, address)).toBe(false)
    }
    expect(netlink.deleteAddress(99, '192.0.2.1/24')).toBe(false)
  })

  for (const [family, { address, via, dst, wider }] of Object.entries({
    '-4': { address: '192.0.2.1/24', via: '192.0.2.2', dst: '10.244.2.0/24', wider: '0.0.0.0/0' },
    '-6': { address: '2001:db8::1/64', via: '2001:db8::2', dst: 'fd00:10:244:2::/64', wider: '::/0' },
  }))
    test(`routes are added, replaced, found and deleted (ip ${family})`, async () => {
      const src = address.replace(/\/.*/, '')
      const show = async () => {
        const shown = await left.json<IpRoute[]>('ip', '-j', family, 'route', 'show', 'proto', String(RTPROT_POLDER))
        const fields = shown.map((route) => ({ ...ipFields(route), mtu: route.metrics?.[0]?.mtu }))
        return fields.toSorted((a, b) => Number(a.dst === 'default') - Number(b.dst === 'default'))
      }
      const metric = family === '-6' ? 1024 : 0
      const scope = family === '-4' ? { scope: 'link' } : {}
      netlink.addAddress(eth0, address)
      netlink.addRoute({ dst, index: eth0 })
      expect(await show()).toEqual([{ dst, dev: 'eth0', ...scope, metric, mtu: undefined }])
      netlink.replaceRoute({ dst, index: eth0, via, src, mtuBytes: 1400 })
      netlink.addRoute({ dst: 'default', index: eth0, via, metric: 50 })
      expect(await show()).toEqual([
        { dst, gateway: via, dev: 'eth0', prefsrc: src, metric, mtu: 1400 },
        { dst: 'default', gateway: via, dev: 'eth0', metric: 50, mtu: undefined },
      ])
      expect(netlink.routes({ protocol: RTPROT_POLDER })).toHaveLength(2)

      expect(netlink.routeTo(dst.replace(/0?\/.*/, '9'))).toEqual({ index: eth0, src, via })
      expect(netlink.routeTo(via)).toEqual({ index: eth0, src })

      // Somebody else's route stays, until its protocol is named.
      await left.run('ip', family, 'route', 'add', 'default', 'via', via, 'dev', 'eth0', 'metric', '60')
      expect(netlink.deleteRoute({ dst: wider })).toBe(true)
      expect(netlink.deleteRoute({ dst: wider })).toBe(false)
      expect(netlink.deleteRoute({ dst: 'default', via, protocol: 3 })).toBe(true)
      expect(netlink.deleteRoute({ dst, index: eth0 })).toBe(true)
      expect(await show()).toEqual([])
    })

  test('an IPv4 route may lead through an IPv6 gateway', async () => {
    netlink.addRoute({ dst: '198.51.100.0/24', via: 'fe80::1', index: eth0 })
    const [shown] = await left.json('ip', '-j', 'route', 'show', '198.51.100.0/24')
    expect(shown).toMatchObject({ via: { family: 'inet6', host: 'fe80::1' }, dev: 'eth0' })
    expect(netlink.routes().find((route) => route.dst === '198.51.100.0/24')!.via).toBe('fe80::1')
    expect(netlink.deleteRoute({ dst: '198.51.100.0/24' })).toBe(true)
  })
})

describe('errors', () => {
  test('EEXIST, for an address, a route, a link', () => {
    netlink.addAddress(eth0, '192.0.2.1/24')
    expect(errorOf(() => netlink.addAddress(eth0, '192.0.2.1/24'))).toMatchObject({
      code: 'EEXIST',
      errno: 17,
      operation: `add address 192.0.2.1/24 to link ${eth0}`,
    })
    netlink.addRoute({ dst: '198.51.100.0/24', index: eth0 })
    expect(errorOf(() => netlink.addRoute({ dst: '198.51.100.0/24', index: eth0 })).code).toBe('EEXIST')
    expect(errorOf(() => netlink.addBridge('eth0')).code).toBe('EEXIST')
  })

  test('ENODEV, for a link that is not there', () => {
    expect(netlink.link('nothing')).toBeUndefined()
    expect(netlink.link(99)).toBeUndefined()
    expect(errorOf(() => netlink.setLink(99, { up: true })).message).toBe('set link 99: no such device (ENODEV)')
  })

  test("EINVAL, with the kernel's sentence", () => {
    expect(errorOf(() => netlink.addRoute({ dst: '198.51.100.1/24', index: eth0 })).message).toBe(
      `add route 198.51.100.1/24 on link ${eth0}: Invalid prefix for given prefix length (EINVAL)`,
    )
    expect(errorOf(() => netlink.setLink(eth0, { mtuBytes: 20 })).message).toMatch(
      /mtu less than device minimum \(EINVAL\)$/,
    )
  })

  test('no route to the address', () => {
    expect(errorOf(() => netlink.routeTo('203.0.113.1')).code).toBe('ENETUNREACH')
    expect(errorOf(() => netlink.routeTo('2001:db8:ffff::1')).code).toBe('ENETUNREACH')
  })

  test('what is not a namespace', () => {
    expect(errorOf(() => new Netlink(0)).operation).toBe('open a netlink socket')
  })

  test('a closed socket', () => {
    const closed = new Netlink(left.fd)
    closed.close()
    expect(errorOf(() => closed.links())).toMatchObject({ code: 'EBADF', operation: 'list links' })
  })
})

describe('the socket', () => {
  test('a dump that was overtaken by a change begins anew: no address is missed or seen twice', async () => {
    const fill =
      'i=0; while [ $i -lt 1000 ]; do echo addr add 10.1.$((i / 250)).$((i % 250))/32 dev eth0; i=$((i + 1)); done'
    await left.run('sh', '-c', `(${fill}) | ip -batch -`)
    // An address of link scope comes first in the list: each coming and going shifts all others by one.
    const churn = 'ip addr add 10.9.9.9/32 scope link dev eth0 && sleep 0.003 && ip addr del 10.9.9.9/32 dev eth0'
    const busy = left.spawn('sh', '-c', `while ${churn} && sleep 0.003; do :; done`)
    const DUMPS = 300
    let seen = 0
    for (let i = 0; i < DUMPS; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      const found = netlink.addresses(eth0).map((address) => address.address)
      seen += Number(found.includes('10.9.9.9'))
      const still = found.filter((address) => address.startsWith('10.1.'))
      expect([still.length, new Set(still).size]).toEqual([1000, 1000])
    }
    expect(busy.running && seen > 0 && seen < DUMPS).toBe(true)
  }, 30_000)

  test('what is left of a request that was given up is passed over', () => {
    const before = new Set(readdirSync('/proc/self/fd'))
    using disturbed = new Netlink(left.fd)
    const fd = readdirSync('/proc/self/fd').find((entry) => isSocket(entry) && !before.has(entry))
    const header = { type: RTM_GETLINK, flags: NLM_F_REQUEST | NLM_F_DUMP, sequence: 0xfffffff0 }
    sendMessage(Number(fd), encodeMessage(header, encodeLinkQuery()))
    expect(disturbed.routeTo('127.0.0.1')).toEqual({ index: 1, src: '127.0.0.1' })
    expect(disturbed.links().map((link) => link.name)).toEqual(['lo', 'eth0'])
  })
})

function isSocket(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')
  } catch {
    return false
  }
}

describe('notices', () => {
  const changes: [string, string[]][] = [
    ['an interface that comes', ['ip', 'link', 'add', 'more', 'type', 'veth']],
    ['an interface that goes', ['ip', 'link', 'del', 'eth0']],
    ['a name', ['ip', 'link', 'set', 'eth0', 'name', 'eth1']],
    ['an MTU', ['ip', 'link', 'set', 'eth0', 'mtu', '1400']],
    ['a queue', ['ip', 'link', 'set', 'eth0', 'txqueuelen', '77']],
    ['an interface that goes down', ['ip', 'link', 'set', 'eth0', 'down']],
    ['an address', ['ip', 'address', 'add', '10.9.9.1/24', 'dev', 'eth0']],
    ['an IPv6 address', ['ip', 'address', 'add', 'fd00:9::1/64', 'dev', 'eth0', 'nodad']],
    ['a route', ['ip', 'route', 'add', '10.8.0.0/16', 'dev', 'eth0']],
    ['an IPv6 route', ['ip', 'route', 'add', 'fd00:8::/48', 'dev', 'eth0']],
    ['IPv6 switched off', ['sysctl', '-qw', 'net.ipv6.conf.eth0.disable_ipv6=1']],
    ['an nftables table', ['nft', 'add', 'table', 'inet', 'notices']],
  ]

  test.each(changes)('tell of %s', async (_, command) => {
    using notices = new Notices(left.fd)
    // What the kernel still says of the veth pair that was made a moment ago.
    await quiet(notices)
    await left.run(...command)
    await until(() => notices.taken())
    await quiet(notices)
  })

  test('that found no room are notices, too', async () => {
    using notices = new Notices(left.fd)
    await quiet(notices)
    const more = Array.from({ length: 3000 }, (_, i) => `address add 10.1.${i >> 8}.${i & 255}/32 dev lo`)
    await left.run('sh', '-c', 'echo "$0" | ip -batch -', more.join('\n'))
    expect(notices.taken()).toBe(true)
    await quiet(notices)
  })

  /** Nothing is told for a while. */
  async function quiet(notices: Notices): Promise<void> {
    for (let silent = 0; silent < 5; await delay(20)) silent = notices.taken() ? 0 : silent + 1
  }
})
