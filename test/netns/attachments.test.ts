/**
 * Attachments in real namespaces. What stands for the data path here keeps descriptors and moves no packet.
 *
 *   this process: NodeAttachments  ──TUN eth0──  pod namespace polder-t<pid>-…
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NodeAttachments } from '../../daemon/attachments/attachments.ts'
import type { PodPorts } from '../../daemon/dataplane/pod-ports.ts'
import { FdStore } from '../../daemon/handover/fd-store.ts'
import { HostPorts } from '../../daemon/host-ports/host-ports.ts'
import { Ipam } from '../../daemon/ipam/ipam.ts'
import { closeFd } from '../../daemon/nic/nic.ts'
import { Netns } from '../support/netns.ts'

const MTU_BYTES = 1450

class HeldPorts implements PodPorts {
  readonly fds = new Map<number, number>()
  refuses = false
  #next = 3

  async addPod(fd: number): Promise<number> {
    await new Promise(setImmediate)
    if (this.refuses) throw new Error('the data path is full')
    this.fds.set(this.#next, fd)
    return this.#next++
  }

  async removePod(port: number): Promise<void> {
    closeFd(this.fds.get(port)!)
    this.fds.delete(port)
  }

  /** As if the process had been killed. */
  die(): void {
    for (const fd of this.fds.values()) closeFd(fd)
    this.fds.clear()
  }
}

interface Daemon {
  attachments: NodeAttachments
  ports: HeldPorts
  ipam: Ipam
}

let stateDir: string
let messages: string[]
const started: Daemon[] = []

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'polder-t'))
  messages = []
})

afterEach(async () => {
  for (const daemon of started.splice(0)) await kill(daemon)
  rmSync(stateDir, { recursive: true })
})

async function start({ bootId = 'boot-1', ranges = ['10.244.1.0/24', 'fd00:10:244:1::/64'] } = {}): Promise<Daemon> {
  const log = pino({}, { write: (line: string) => void messages.push(line) })
  const ports = new HeldPorts()
  const ipam = new Ipam({ ranges, now: Date.now })
  const fdStore = new FdStore(undefined, new Map(), log)
  const hostPorts = new HostPorts({ nodePortOwner: () => undefined })
  const attachments = new NodeAttachments({
    stateDir,
    bootId,
    ipam,
    ports,
    hostPorts,
    fdStore,
    mtuBytes: MTU_BYTES,
    log,
  })
  const daemon = { attachments, ports, ipam }
  started.push(daemon)
  await attachments.restore()
  return daemon
}

async function kill({ attachments, ports }: Daemon): Promise<void> {
  ports.die()
  await attachments.close()
}

const files = () => readdirSync(join(stateDir, 'attachments'))
const request = (netns: string, containerId = 'c1') => ({ containerId, ifName: 'eth0', netns, network: 'polder' })
const withCode = (code: string) => expect.objectContaining({ code })

describe('add', () => {
  test('makes the device, its addresses and routes, and the record', async () => {
    await using pod = await Netns.create('add')
    const { attachments, ports } = await start()
    const attachment = await attachments.add(request(pod.path))
    expect(attachment).toMatchObject({ containerId: 'c1', addresses: ['10.244.1.3', 'fd00:10:244:1::3'] })
    expect(attachments.get('c1', 'eth0')).toEqual(attachment)
    expect(ports.fds.size).toBe(1)
    expect(files()).toEqual(['c1@eth0.json'])
    const [link] = await pod.json<{ flags: string[] }[]>('ip', '-j', '-d', 'link', 'show', 'eth0')
    expect(link).toMatchObject({ mtu: MTU_BYTES, txqlen: 5000, gso_max_size: 62000, inet6_addr_gen_mode: 'none' })
    expect(link).toMatchObject({ linkinfo: { info_kind: 'tun', info_data: { persist: true, vnet_hdr: true } } })
    expect(link!.flags).toEqual(expect.arrayContaining(['UP', 'LOWER_UP']))
    const [addresses] = await pod.json<{ addr_info: { local: string }[] }[]>('ip', '-j', 'addr', 'show', 'eth0')
    expect(addresses!.addr_info.map(({ local }) => local)).toEqual(attachment.addresses)
    expect(await pod.run('ip', '-4', 'route', 'get', '192.0.2.1')).toContain('via 10.244.1.1 dev eth0 src 10.244.1.3')
    expect(await pod.run('ip', '-6', 'route', 'get', '2001:db8::1')).toMatch(
      /via fd00:10:244:1::1 dev eth0 .*src fd00:10:244:1::3/,
    )
    await expect(attachments.check('c1', 'eth0')).resolves.toEqual(attachment)
  })

  test('brings the loopback up', async () => {
    await using pod = await Netns.create('lo')
    await pod.run('ip', 'link', 'set', 'lo', 'down')
    const { attachments } = await start()
    await attachments.add(request(pod.path))
    expect(await pod.run('ip', 'link', 'show', 'lo')).toContain('LOWER_UP')
  })

  test.each([
    ['10.244.1.0/24', ['10.244.1.3']],
    ['fd00:10:244:1::/64', ['fd00:10:244:1::3']],
  ])('with %s alone', async (range, addresses) => {
    await using pod = await Netns.create('single')
    const { attachments } = await start({ ranges: [range] })
    expect((await attachments.add(request(pod.path))).addresses).toEqual(addresses)
    await expect(attachments.check('c1', 'eth0')).resolves.toBeDefined()
  })

  test('on an interface that exists fails and leaves it as it was', async () => {
    await using pod = await Netns.create('taken')
    await pod.run('ip', 'link', 'add', 'eth0', 'type', 'bridge')
    const { attachments, ipam } = await start()
    await expect(attachments.add(request(pod.path))).rejects.toThrow(withCode('exists'))
    expect(await pod.run('ip', '-d', 'link', 'show', 'eth0')).toContain('bridge')
    expect(files()).toEqual([])
    expect(ipam.freeCount).toBe(252)
  })

  test('twice fails the second time, whoever asks, and leaves the first', async () => {
    await using pod = await Netns.create('twice')
    const { attachments } = await start()
    const answers = await Promise.allSettled([
      attachments.add(request(pod.path)),
      attachments.add(request(pod.path)),
      attachments.add(request(pod.path, 'c2')),
    ])
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    await expect(attachments.check('c1', 'eth0')).resolves.toBeDefined()
    expect(files()).toEqual(['c1@eth0.json'])
  })

  test('that the data path refuses leaves nothing', async () => {
    await using pod = await Netns.create('refused')
    const { attachments, ports, ipam } = await start()
    ports.refuses = true
    await expect(attachments.add(request(pod.path))).rejects.toThrow('the data path is full')
    expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
    expect(files()).toEqual([])
    expect(ipam.freeCount).toBe(252)
    expect(attachments.list()).toEqual([])
    ports.refuses = false
    await expect(attachments.add(request(pod.path))).resolves.toBeDefined()
  })

  test('where the kernel refuses leaves nothing and says what', async () => {
    await using pod = await Netns.create('noipv6')
    await pod.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6')
    const { attachments, ipam } = await start()
    await expect(attachments.add(request(pod.path))).rejects.toThrow(/add address fd00:10:244:1::3.*/)
    expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
    expect(files()).toEqual([])
    expect(ipam.freeCount).toBe(252)
  })

  test('refuses what is no pod’s namespace', async () => {
    await using pod = await Netns.create('fifo')
    const fifo = join(stateDir, 'fifo')
    await pod.run('mkfifo', fifo)
    writeFileSync(join(stateDir, 'file'), '')
    const { attachments } = await start()
    const paths = [
      '/run/netns/polder-t-none',
      join(stateDir, 'file'),
      fifo,
      '/proc/self/ns/net',
      '/proc/self/ns/mnt',
      '',
    ]
    for (const path of paths) {
      await expect(attachments.add(request(path)), path).rejects.toThrow(withCode('netns-missing'))
    }
    expect(files()).toEqual([])
  })

  test('of 60 pods at once gives each its own address', async () => {
    const { attachments, ipam } = await start()
    await using pods = new AsyncDisposableStack()
    const names = Array.from({ length: 60 }, (_, i) => `many${i}`)
    const netns = await Promise.all(names.map((name) => Netns.create(name)))
    for (const each of netns) pods.use(each)
    const made = await Promise.all(netns.map((each) => attachments.add(request(each.path, each.name))))
    expect(new Set(made.map(({ addresses }) => addresses[0])).size).toBe(60)
    expect(ipam.freeCount).toBe(252 - 60)
    await Promise.all(made.map(({ containerId, ifName }) => attachments.remove(containerId, ifName)))
    expect(ipam.freeCount).toBe(252)
    expect(files().filter((name) => name.endsWith('.json'))).toEqual([])
  })

  test('before restore and after close says not-ready', async () => {
    await using pod = await Netns.create('early')
    const { attachments } = await start()
    await attachments.close()
    await expect(attachments.add(request(pod.path))).rejects.toThrow(withCode('not-ready'))
  })
})

describe('remove', () => {
  test('leaves nothing, lets the address rest, and may be repeated', async () => {
    await using pod = await Netns.create('remove')
    const { attachments, ports, ipam } = await start()
    await attachments.add(request(pod.path))
    await Promise.all([attachments.remove('c1', 'eth0'), attachments.remove('c1', 'eth0')])
    await attachments.remove('c1', 'eth0')
    expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
    expect(ports.fds.size).toBe(0)
    expect(ipam.freeCount).toBe(252)
    expect(files()).toEqual(['10.244.1.3.released'])
    expect((await attachments.add(request(pod.path))).addresses[0]).toBe('10.244.1.4')
  })

  test('works on a namespace whose path is gone, and lets it go', async () => {
    const { attachments, ipam } = await start()
    {
      await using pod = await Netns.create('gone')
      await attachments.add(request(pod.path))
    }
    await attachments.remove('c1', 'eth0')
    expect(ipam.freeCount).toBe(252)
    expect(attachments.list()).toEqual([])
  })

  test('works on a device or a record that somebody removed', async () => {
    await using pod = await Netns.create('bare')
    const { attachments, ipam } = await start()
    await attachments.add(request(pod.path))
    await pod.run('ip', 'link', 'del', 'eth0')
    rmSync(join(stateDir, 'attachments', 'c1@eth0.json'))
    await attachments.remove('c1', 'eth0')
    expect(ipam.freeCount).toBe(252)
  })
})

test('what lost its namespace without a remove is released, and nothing else', async () => {
  await using kept = await Netns.create('kept')
  const { attachments, ipam } = await start()
  {
    await using lost = await Netns.create('lost')
    await attachments.add(request(lost.path))
    await attachments.add(request(kept.path, 'c2'))
  }
  await attachments.releaseVanished()
  expect(attachments.list().map(({ containerId }) => containerId)).toEqual(['c2'])
  expect(ipam.freeCount).toBe(251)
  await attachments.remove('c1', 'eth0')
})

test('add and remove of one attachment never overlap', async () => {
  await using pod = await Netns.create('turns')
  const { attachments, ipam } = await start()
  const calls: Promise<unknown>[] = []
  for (let i = 0; i < 20; i++) calls.push(attachments.add(request(pod.path)), attachments.remove('c1', 'eth0'))
  const answers = await Promise.allSettled(calls)
  expect(answers.map(({ status }) => status)).not.toContain('rejected')
  expect(ipam.freeCount).toBe(252)
})

describe('check', () => {
  test.each([
    ['ip addr del 10.244.1.3/32 dev eth0', 'address 10.244.1.3 is missing'],
    ['ip addr del fd00:10:244:1::3/128 dev eth0', 'address fd00:10:244:1::3 is missing'],
    ['ip route del default', 'route to 0.0.0.0/0 via 10.244.1.1 is missing'],
    ['ip -6 route del default', 'route to ::/0 via fd00:10:244:1::1 is missing'],
    ['ip link set eth0 down', 'interface eth0 is down'],
    ['ip link del eth0', 'interface eth0 is missing'],
    ['ip link del eth0 && ip link add eth0 type bridge', 'interface eth0 is a bridge, not a tun'],
  ])('after %s says: %s', async (command, fault) => {
    await using pod = await Netns.create('check')
    const { attachments } = await start()
    await attachments.add(request(pod.path))
    await pod.run('sh', '-c', command)
    await expect(attachments.check('c1', 'eth0')).rejects.toThrow(fault)
  })

  test('says that a path leads elsewhere, or that nothing is known', async () => {
    const { attachments } = await start()
    {
      await using pod = await Netns.create('path')
      await attachments.add(request(pod.path))
    }
    await expect(attachments.check('c1', 'eth0')).rejects.toThrow('does not lead to its namespace')
    await expect(attachments.check('c2', 'eth0')).rejects.toThrow('no record')
  })
})

describe('after a kill', () => {
  test('attachments are found again, with what others removed put back', async () => {
    await using pod = await Netns.create('again')
    const first = await start()
    const made = await first.attachments.add({ ...request(pod.path), pod: { namespace: 'default', name: 'web' } })
    await kill(first)
    await pod.run('ip', 'route', 'del', 'default')
    await pod.run('ip', 'addr', 'del', '10.244.1.3/32', 'dev', 'eth0')
    const { attachments, ports, ipam } = await start()
    expect(attachments.list()).toEqual([made])
    expect(ports.fds.size).toBe(1)
    await expect(attachments.check('c1', 'eth0')).resolves.toEqual(made)
    expect(ipam.allocate()[0]).toBe('10.244.1.4')
    await attachments.remove('c1', 'eth0')
    expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
  })

  test('what lost its namespace or its device is released', async () => {
    await using kept = await Netns.create('kept')
    const first = await start()
    {
      await using lost = await Netns.create('lost')
      await first.attachments.add(request(lost.path))
      await first.attachments.add(request(kept.path, 'c2'))
      await kill(first)
    }
    await kept.run('ip', 'link', 'del', 'eth0')
    const { attachments, ipam } = await start()
    expect(attachments.list()).toEqual([])
    expect(ipam.freeCount).toBe(252)
    expect(files().sort()).toEqual(['10.244.1.3.released', '10.244.1.4.released'])
    expect(ipam.allocate()[0]).toBe('10.244.1.5')
  })

  test('what was released goes on resting', async () => {
    await using pod = await Netns.create('rest')
    const first = await start({ ranges: ['10.244.1.0/29'] })
    await first.attachments.add(request(pod.path))
    await first.attachments.remove('c1', 'eth0')
    await kill(first)
    const { ipam } = await start({ ranges: ['10.244.1.0/29'] })
    const order = Array.from({ length: 4 }, () => ipam.allocate()[0])
    expect(order).toEqual(['10.244.1.4', '10.244.1.5', '10.244.1.6', '10.244.1.3'])
  })

  test('one that another process holds stays known, and says so', async () => {
    await using pod = await Netns.create('busy')
    const first = await start()
    await first.attachments.add(request(pod.path))
    const second = await start()
    expect(second.attachments.list()).toHaveLength(1)
    await expect(second.attachments.check('c1', 'eth0')).rejects.toThrow('the data path does not hold its device')
    expect(messages.join('')).toContain('could not be had back')
    await second.attachments.remove('c1', 'eth0')
    expect(second.ipam.freeCount).toBe(252)
  })

  test('records of an earlier boot are cleared away, torn ones too, with a word', async () => {
    await using pod = await Netns.create('boot')
    const first = await start()
    await first.attachments.add(request(pod.path))
    await kill(first)
    const folder = join(stateDir, 'attachments')
    writeFileSync(join(folder, 'c2@eth0.json.new'), '{"conta')
    writeFileSync(join(folder, 'c3@eth0.json'), '{"containerId": 7}')
    const { attachments } = await start({ bootId: 'boot-2' })
    expect(attachments.list()).toEqual([])
    expect(files()).toEqual([])
    expect(messages.join('')).toContain('half-written when the machine stopped')
  })
})
