/**
 * What docs/security.md claims, tried on real namespaces: by a pod, by a host on the underlay that is no node, by a user
 * of the node who is not root.
 *
 *   a, b ─ node1 198.18.0.1 ─┐
 *                            ├ bridge ─ outsider 198.18.0.99
 *   c ──── node2 198.18.0.2 ─┘          node9 198.18.0.77: a peer by its file only, 10.244.77.0/24
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Counters } from '../../daemon/api/types.ts'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import { buildBytes } from '../support/build-packet.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { envelopeBytes } from '../support/envelope.ts'
import { fromHex } from '../support/hex.ts'
import { type Netns, until } from '../support/netns.ts'
import { datagram, sendRaw } from '../support/raw-packet.ts'

const NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']
const OUTSIDER = '198.18.0.99'
const VXLAN_PORT = 4789

let cluster: TestCluster
let node1: TestNode
let node2: TestNode
let outsider: Netns
let a: Pod
let b: Pod
let c: Pod

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  // Made for root alone: it is polderd's own modes that are looked at.
  chmodSync(cluster.folder, 0o755)
  ;[node1, node2] = cluster.nodes as [TestNode, TestNode]
  outsider = cluster.underlay
  await outsider.run('ip', 'address', 'add', `${OUTSIDER}/24`, 'dev', 'underlay')
  const folder = join(cluster.folder, 'cluster/nodes')
  mkdirSync(folder, { recursive: true })
  const metadata = { name: 'node9', annotations: { 'polder/underlay-address': '198.18.0.77' } }
  const node9 = { apiVersion: 'v1', kind: 'Node', metadata, spec: { podCIDRs: ['10.244.77.0/24'] } }
  writeFileSync(join(folder, 'node9.yaml'), JSON.stringify(node9))
  await cluster.start()
  ;[a, b, c] = await Promise.all([node1.addPod('a'), node1.addPod('b'), node2.addPod('c')])
  await a.netns.run('ping', '-c', '1', '-W', '5', c.v4)
})

afterAll(async () => {
  for (const pod of [a, b, c]) await pod?.netns[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function dropped(node: TestNode, reason: string): Promise<number> {
  const { drops } = await node.get<Counters>('/v1/counters')
  return drops.find((drop) => drop.reason === reason)?.packets ?? 0
}

async function received(pod: Pod): Promise<number> {
  const [link] = await pod.netns.json<{ stats64: { rx: { packets: number } } }[]>(
    'ip',
    '-j',
    '-s',
    'link',
    'show',
    'eth0',
  )
  return link!.stats64.rx.packets
}

/** Sends, and sees `node` drop all of it for `reason` while no pod gets anything. */
async function expectDropped(
  node: TestNode,
  reason: string,
  count: number,
  send: () => Promise<unknown>,
): Promise<void> {
  const before = [await dropped(node, reason), ...(await Promise.all([a, b, c].map(received)))]
  await send()
  await until(async () => (await dropped(node, reason)) >= before[0]! + count, 10_000)
  expect([await dropped(node, reason), ...(await Promise.all([a, b, c].map(received)))]).toEqual([
    before[0]! + count,
    ...before.slice(1),
  ])
}

const gateway = (address: string): string => address.replace(/\d+$/, '1')
const vxlan = (inner: Uint8Array, from: string, to: string): Uint8Array =>
  datagram(`${from}:5000`, `${to}:${VXLAN_PORT}`, envelopeBytes(inner))

/** Two of them, each as large as the underlay takes, or less. */
function inFragments(packet: Uint8Array): Uint8Array[] {
  const PIECE = 1480
  return [packet.subarray(20, 20 + PIECE), packet.subarray(20 + PIECE)].map((payload, index) => {
    const piece = Uint8Array.of(...packet.subarray(0, 20), ...payload)
    const view = new DataView(piece.buffer)
    ipv4.setTotalLength(view, 0, piece.length)
    ipv4.setIdentification(view, 0, 77)
    ipv4.setFlags(view, 0, index === 0 ? ipv4.FLAG_MORE_FRAGMENTS : 0)
    ipv4.setFragmentOffset(view, 0, (index * PIECE) / 8)
    ipv4.fillChecksum(view, 0)
    return piece
  })
}

describe('a pod', () => {
  it('sends with no address but its own', async () => {
    const forged = [
      `udp ${b.v4}:1 > ${c.v4}:2`,
      `udp ${b.v4}:1 > ${a.v4}:2`,
      `udp ${c.v4}:1 > ${b.v4}:2`,
      `udp ${gateway(a.v4)}:1 > ${b.v4}:2`,
      `udp 198.18.0.1:1 > ${b.v4}:2`,
      `udp 198.18.0.2:1 > ${b.v4}:2`,
      `udp 203.0.113.9:1 > ${c.v4}:2`,
      `udp ${b.v6}.1 > ${c.v6}.2`,
      `udp ${c.v6}.1 > ${b.v6}.2`,
      `udp ${gateway(a.v6)}.1 > ${b.v6}.2`,
      `tcp ${b.v4}:1 > ${c.v4}:2 flags syn`,
      `icmp ${b.v6} > ${c.v6}`,
    ].map(buildBytes)
    await expectDropped(node1, 'spoofed-pod', forged.length, () => sendRaw(a.netns, forged))
  })

  it.each([
    ['martian', ['127.0.0.1:1 > B4:2', 'A4:1 > 127.0.0.1:2', 'A4:1 > 240.0.0.1:2', '0.0.0.0:1 > B4:2', '::1.1 > B6.2']],
    ['martian', ['A6.1 > ::ffff:198.18.0.1.2', '::.1 > B6.2']],
    ['multicast', ['A4:1 > 224.0.0.1:2', 'A4:1 > 255.255.255.255:2', 'A6.1 > ff02::1.2', 'A6.1 > ff0e::1.2']],
    ['link-local', ['fe80::1.1 > B6.2', 'A6.1 > fe80::1.2']],
  ])('%s: reaches nobody with or at %j', async (reason, lines) => {
    const named = { A4: a.v4, B4: b.v4, A6: a.v6, B6: b.v6 } as Record<string, string>
    const packets = lines.map((line) => buildBytes(`udp ${line.replaceAll(/[AB][46]/g, (name) => named[name]!)}`))
    await expectDropped(node1, reason, packets.length, () => sendRaw(a.netns, packets))
  })

  it('is no node: VXLAN from a pod is thrown away by every node', async () => {
    const inner = buildBytes(`udp ${c.v4}:1 > ${b.v4}:2`)
    await expectDropped(node1, 'unknown-peer', 1, () => sendRaw(a.netns, [vxlan(inner, a.v4, '198.18.0.1')]))
    await expectDropped(node2, 'unknown-peer', 1, () => sendRaw(a.netns, [vxlan(inner, a.v4, '198.18.0.2')]))
  })

  it('has no port changed by offload state that it writes itself, and no packet cut to dust', async () => {
    // NEEDS_CSUM, to be put where the destination port stands. (Over addresses the kernel itself refuses it.)
    const overPort = '01000000000028000200'
    const v6 = [buildBytes(`udp ${a.v6}.1 > ${c.v6}.2 payload 8`)]
    await expectDropped(node1, 'bad-offload', 1, () => sendRaw(a.netns, v6, 'device', 'eth0', overPort))
    // A TCP super-packet of segments of one byte: twenty thousand packets for the price of one.
    const bytewise = '01012800010014001000'
    const big = [buildBytes(`tcp ${a.v4}:1 > ${c.v4}:2 payload 20000`)]
    await expectDropped(node1, 'bad-offload', 1, () => sendRaw(a.netns, big, 'device', 'eth0', bytewise))
  })

  it('finds nothing of polderd to talk to but the VXLAN port', async () => {
    const sockets = await node1.netns.run('ss', '-Hltn')
    expect(sockets).toBe('')
    const ports = (await node1.netns.run('ss', '-Hlun'))
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/)[3]!)
    expect(ports.filter((place) => place.endsWith(`:${VXLAN_PORT}`))).toEqual([`198.18.0.1:${VXLAN_PORT}`])
    const senders = ports
      .filter((place) => !place.endsWith(`:${VXLAN_PORT}`))
      .map((place) => Number(place.split(':')[1]))
    // The others only send: what comes to them is thrown away at once.
    const noise = senders.map((port) => datagram(`${a.v4}:9`, `198.18.0.1:${port}`, new Uint8Array(100)))
    await sendRaw(a.netns, noise)
    await a.netns.run('ping', '-c', '1', '-W', '5', '198.18.0.1')
    const queued = (await node1.netns.run('ss', '-Hlun'))
      .trim()
      .split('\n')
      .map((line) => Number(line.split(/\s+/)[1]))
    expect(queued.every((bytes) => bytes === 0)).toBe(true)
  })
})

describe('a host on the underlay that is no node', () => {
  const send = (packets: Uint8Array[]) => sendRaw(outsider, packets, 'ip')

  it('is not listened to', async () => {
    const packets = [
      vxlan(buildBytes(`udp ${c.v4}:1 > ${a.v4}:2`), OUTSIDER, '198.18.0.1'),
      vxlan(buildBytes(`udp ${a.v4}:1 > ${b.v4}:2`), OUTSIDER, '198.18.0.1'),
      datagram(`${OUTSIDER}:5000`, `198.18.0.1:${VXLAN_PORT}`, fromHex('00')),
    ]
    await expectDropped(node1, 'unknown-peer', packets.length, () => send(packets))
  })

  it("speaks for no other node, nor for its pods, even with a node's address", async () => {
    const forged = [
      `udp ${b.v4}:1 > ${a.v4}:2`,
      `udp ${gateway(a.v4)}:1 > ${a.v4}:2`,
      `udp 198.18.0.1:1 > ${a.v4}:2`,
      `udp 198.18.0.77:1 > ${a.v4}:2`,
      `udp 10.244.77.5:1 > ${a.v4}:2`,
      `udp ${b.v6}.1 > ${a.v6}.2`,
    ].map((line) => vxlan(buildBytes(line), '198.18.0.2', '198.18.0.1'))
    await expectDropped(node1, 'spoofed-peer', forged.length, () => send(forged))
  })

  it('reaches pods and the node only: nothing is carried on to another node or the world', async () => {
    const through = [`udp ${c.v4}:1 > 10.244.77.5:2`, `udp ${c.v4}:1 > 203.0.113.9:2`, `udp ${c.v4}:1 > 198.18.0.77:2`]
    const packets = through.map((line) => vxlan(buildBytes(line), '198.18.0.2', '198.18.0.1'))
    await expectDropped(node1, 'no-transit', packets.length, () => send(packets))
  })

  it("WEAKNESS: with a node's address it speaks for that node's pods and for the world", async () => {
    const before = await received(a)
    const inner = [`udp ${c.v4}:1 > ${a.v4}:2`, `udp 203.0.113.9:1 > ${a.v4}:2`].map(buildBytes)
    await send(inner.map((packet) => vxlan(packet, '198.18.0.2', '198.18.0.1')))
    await until(async () => (await received(a)) === before + 2, 10_000)
  })

  it.each([
    ['wrong-vni', (inner: Uint8Array) => Uint8Array.of(8, 0, 0, 0, 0, 0, 9, 0, ...envelopeBytes(inner).subarray(8))],
    ['malformed-vxlan', () => Uint8Array.of(8, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3)],
    ['not-ip', (inner: Uint8Array) => envelopeBytes(inner, 0x8847)],
    ['malformed-ip', (inner: Uint8Array) => envelopeBytes(inner.subarray(0, 19))],
  ])('%s: is dropped by that name', async (reason, payload) => {
    const inner = buildBytes(`udp ${c.v4}:1 > ${a.v4}:2`)
    const packet = datagram('198.18.0.2:5000', `198.18.0.1:${VXLAN_PORT}`, payload(inner))
    await expectDropped(node1, reason, 1, () => send([packet]))
  })

  it('makes nothing larger than the MTU by fragments: dropped, and the pod that it named is told', async () => {
    const inner = buildBytes(`udp ${c.v4}:1 > ${a.v4}:2 payload 1800`)
    const [before, gotA, gotC] = [await dropped(node1, 'too-big'), await received(a), await received(c)]
    await send(inFragments(vxlan(inner, '198.18.0.2', '198.18.0.1')))
    await until(async () => (await received(c)) === gotC + 1, 10_000)
    expect([await dropped(node1, 'too-big'), await received(a)]).toEqual([before + 1, gotA])
  })
})

describe('a user of the node who is not root', () => {
  const asNobody = (node: TestNode, ...command: string[]) => node.netns.attempt(...NOBODY, ...command)

  it('may not open the API socket', async () => {
    const script = `require('net').connect('${node1.socket}').on('error', (e) => console.log(e.code))`
    expect((await asNobody(node1, process.execPath, '-e', script)).stdout.trim()).toBe('EACCES')
  })

  it('reads and writes nothing that polderd keeps', async () => {
    const kept = await node1.netns.run('find', node1.stateDir, '-type', 'f')
    expect(kept).toContain('attachments')
    expect((await asNobody(node1, 'find', node1.stateDir, '-type', 'f')).stdout).toBe('')
    const loose = await node1.netns.run('find', cluster.folder, '-mindepth', '1', '!', '-type', 'l', '-perm', '/022')
    expect(loose).toBe('')
  })

  it("cannot speak in the node's name to another: only root sends VXLAN to nodes", async () => {
    const inner = Buffer.from(envelopeBytes(buildBytes(`udp ${a.v4}:1 > ${c.v4}:2`))).toString('hex')
    const script = `const s = require('dgram').createSocket('udp4')
      s.send(Buffer.from('${inner}', 'hex'), ${VXLAN_PORT}, '198.18.0.2', (e) => { console.log(e ? e.code : 'sent'); s.close() })`
    const before = await received(c)
    expect((await asNobody(node1, process.execPath, '-e', script)).stdout.trim()).toBe('EPERM')
    expect(await received(c)).toBe(before)
    // The same by root arrives: what was stopped is the user, not the packet.
    expect((await node1.netns.run(process.execPath, '-e', script)).trim()).toBe('sent')
    await until(async () => (await received(c)) === before + 1, 10_000)
  })
})
