/**
 * Conversations, packet by packet, as node 1 of two-nodes.ts sees them, and what the flow table says of them then.
 * Each line names the entrance and the packet; what follows `=>` is the flow's state after it.
 */
import { beforeEach, describe, expect, it } from 'vitest'
import * as sctp from '../../../packet/formats/sctp.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import { Packet } from '../../../packet/packet.ts'
import { ANSWER_BYTES, answer } from '../../../packet/path/answer.ts'
import { DROP_TTL_EXPIRED } from '../../../packet/path/drop-reason.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { parse } from '../../../packet/path/parse.ts'
import type { Verdict } from '../../../packet/path/verdict.ts'
import { type FlowRecord, flowTotals, listFlows } from '../../../packet/tables/flow-list.ts'
import type { Tables } from '../../../packet/tables/tables.ts'
import { buildBytes, packetOf } from '../../support/build-packet.ts'
import { envelope } from '../../support/envelope.ts'
import { describeVerdict, POD_A, POD_B, twoNodes } from '../../support/two-nodes.ts'

let tables: Tables
let nowMs: number

beforeEach(() => {
  tables = twoNodes()
  nowMs = 1_000_000
  tables.flows.tick(nowMs)
})

const flows = (): FlowRecord[] => [...listFlows(tables.flows.words.buffer, nowMs)]

function wait(seconds: number): void {
  nowMs += seconds * 1000
  tables.flows.tick(nowMs)
}

function enter(entrance: string, bytes: Uint8Array): Verdict {
  if (entrance === 'peer') return fromPeer(envelope(bytes), 0, tables)
  if (entrance === 'host') return fromHost(packetOf(bytes), tables)
  return fromPod(packetOf(bytes), entrance === 'podB' ? POD_B : POD_A, tables)
}

/** One line a packet: `pod tcp … => established`. */
function play(script: string): void {
  for (const line of script.trim().split('\n')) {
    const [packet, state] = line.split('=>').map((part) => part.trim())
    const entrance = packet!.slice(0, packet!.indexOf(' '))
    enter(entrance, buildBytes(packet!.slice(entrance.length)))
    if (state === undefined) continue
    expect(`${line}: ${flows().map((flow) => flow.state)}`).toBe(`${line}: ${state === 'nothing' ? '' : state}`)
  }
}

const C = '10.244.1.5:1000'
const S = '10.244.2.9:80'
const HANDSHAKE = `
  pod  tcp ${C} > ${S} flags syn seq 100 window 1000               => syn-sent
  peer tcp ${S} > ${C} flags syn,ack seq 500 ackno 101 window 1000 => syn-received
  pod  tcp ${C} > ${S} flags ack seq 101 ackno 501 window 1000     => established`

describe('TCP', () => {
  it('opens, carries data, closes from both sides, and is forgotten', () => {
    play(`${HANDSHAKE}
      pod  tcp ${C} > ${S} flags ack,psh seq 101 ackno 501 payload 50 => established
      peer tcp ${S} > ${C} flags ack seq 501 ackno 151                => established
      peer tcp ${S} > ${C} flags ack,fin seq 501 ackno 151            => closing
      pod  tcp ${C} > ${S} flags ack,fin seq 151 ackno 502            => closed
      peer tcp ${S} > ${C} flags ack seq 502 ackno 152                => closed`)
    expect(flows()[0]).toMatchObject({ assured: true, originalPackets: 4, replyPackets: 4, origin: 'pod' })
    wait(119)
    expect(flows().length).toBe(1)
    wait(8)
    expect(flows().length).toBe(0)
  })

  it('is remembered for a day while it is open, and for a minute while it is not', () => {
    play(HANDSHAKE)
    wait(86_000)
    expect(flows().length).toBe(1)
    wait(500)
    expect(flows().length).toBe(0)
    play(`pod tcp ${C} > ${S} flags syn seq 100 => syn-sent`)
    wait(66)
    expect(flows().length).toBe(0)
  })

  it('is refused by a reset that acknowledges the SYN, and by no other', () => {
    play(`
      pod  tcp ${C} > ${S} flags syn seq 100                => syn-sent
      peer tcp ${S} > ${C} flags rst,ack seq 0 ackno 999    => syn-sent
      peer tcp ${S} > ${C} flags rst,ack seq 0 ackno 101    => reset`)
  })

  it('is not ended by what lies outside of the window: reset, FIN, or SYN', () => {
    play(`${HANDSHAKE}
      peer tcp ${S} > ${C} flags rst seq 90000 => established
      peer tcp ${S} > ${C} flags rst seq 400 => established
      pod  tcp ${C} > ${S} flags rst seq 99999 => established
      peer tcp ${S} > ${C} flags fin,ack seq 900000 ackno 101 => established
      pod  tcp ${C} > ${S} flags syn seq 7777 => established
      peer tcp ${S} > ${C} flags syn,ack seq 7777 ackno 1 => established`)
  })

  it('goes on after a reset that its receiver did not believe', () => {
    play(`${HANDSHAKE}
      peer tcp ${S} > ${C} flags rst seq 600               => reset
      pod  tcp ${C} > ${S} flags ack seq 101 ackno 501     => established
      peer tcp ${S} > ${C} flags ack,psh seq 501 ackno 101 payload 5 => established`)
    wait(1000)
    expect(flows().length).toBe(1)
  })

  it('is forgotten ten seconds after a reset that was believed, and its ports may be used again at once', () => {
    play(`${HANDSHAKE}
      pod  tcp ${C} > ${S} flags rst seq 101               => reset
      pod  tcp ${C} > ${S} flags syn seq 9000              => syn-sent`)
    expect(flows()[0]).toMatchObject({ originalPackets: 1, replyPackets: 0, assured: false })
    play(`peer tcp ${S} > ${C} flags rst,ack seq 0 ackno 9001 => reset`)
    wait(17)
    expect(flows().length).toBe(0)
  })

  it('is picked up in the middle, from either side, and is established once both have spoken', () => {
    play(`
      pod  tcp ${C} > ${S} flags ack seq 70000 ackno 90000 payload 10 => picked-up
      peer tcp ${S} > ${C} flags ack seq 90000 ackno 70010            => established`)
    expect(flows()[0]!.assured).toBe(true)
  })

  it('does not begin with a reset', () => {
    play(`pod tcp ${C} > ${S} flags rst seq 1 => nothing`)
  })

  it('follows windows that are scaled, over the end of the numbers', () => {
    const syn = (line: string, scale: number): Uint8Array => withScale(buildBytes(line), scale)
    const near = 0xffff_fff0
    enter('pod', syn(`tcp ${C} > ${S} flags syn seq ${near} window 1000`, 4))
    enter('peer', syn(`tcp ${S} > ${C} flags syn,ack seq 500 ackno ${near + 1} window 1000`, 7))
    play(`
      pod  tcp ${C} > ${S} flags ack seq ${near + 1} ackno 501 window 1000            => established
      peer tcp ${S} > ${C} flags ack seq 501 ackno ${near + 1} window 1000            => established
      pod  tcp ${C} > ${S} flags rst seq ${(near + 1 + 1000 * 128 + 1) % 2 ** 32}     => established
      peer tcp ${S} > ${C} flags rst seq ${501 + 1000 * 16 + 1}                       => established
      pod  tcp ${C} > ${S} flags rst seq ${(near + 1 + 1000 * 128) % 2 ** 32}         => reset`)
  })
})

/** The SYN with a window scale option (and a NOP) behind its header. */
function withScale(bytes: Uint8Array, scale: number): Uint8Array {
  const longer = Uint8Array.from([...bytes, 1, 3, 3, scale])
  const packet = packetOf(longer)
  const { view, at } = packet
  view.setUint16(at + 2, longer.length)
  view.setUint16(at + 10, 0)
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(at + i)
  view.setUint16(at + 10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
  view.setUint8(at + 20 + 12, 6 << 4)
  expect(tcp.windowScale(view, at + 20)).toBe(scale)
  return packet.bytes.slice(packet.at, packet.end)
}

describe('UDP and other protocols', () => {
  it('are one flow from both sides, unanswered for half a minute, answered for three', () => {
    play(`
      pod  udp ${C} > ${S}  => unanswered
      peer udp ${S} > ${C}  => answered`)
    expect(flows()[0]!.assured).toBe(false)
    play(`pod udp ${C} > ${S} => answered`)
    expect(flows()[0]).toMatchObject({ assured: true, idleSecondsLeft: 180 })
    play('podB udp 10.244.1.6:5 > 10.244.1.5:6 => answered,unanswered')
    wait(36)
    expect(flows().length).toBe(1)
  })

  it('between two pods of the node are one flow', () => {
    play(`
      pod  udp 10.244.1.5:9 > 10.244.1.6:53 => unanswered
      podB udp 10.244.1.6:53 > 10.244.1.5:9 => answered`)
  })

  it('of IPv6 likewise', () => {
    play(`
      pod  udp fd00:10:244:1::5.9 > fd00:10:244:2::9.53 => unanswered
      peer udp fd00:10:244:2::9.53 > fd00:10:244:1::5.9 => answered`)
  })

  it('leave nothing behind where they are dropped', () => {
    play(`
      pod  udp 10.244.1.5:9 > 10.244.9.9:53 => nothing
      pod  udp ${C} > ${S} ttl 1            => nothing
      pod  udp 10.244.1.6:9 > ${S}          => nothing`)
  })
})

describe('SCTP', () => {
  const packet = (from: string, to: string, tag: number, chunk: number, flags = 0): Uint8Array => {
    const bytes = buildBytes(`udp ${from} > ${to} payload 8`)
    const view = new DataView(bytes.buffer)
    view.setUint8(9, 132)
    view.setUint16(10, 0)
    let sum = 0
    for (let i = 0; i < 20; i += 2) sum += view.getUint16(i)
    view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
    view.setInt32(24, tag)
    view.setUint8(32, chunk)
    view.setUint8(33, flags)
    view.setUint16(34, 4)
    return bytes
  }
  const state = (): string =>
    flows()
      .map((flow) => flow.state)
      .join()

  it('is established by four chunks, closed by three, and aborted only by who knows the tag', () => {
    const out = (tag: number, chunk: number, flags = 0) => enter('pod', packet(C, S, tag, chunk, flags))
    const back = (tag: number, chunk: number, flags = 0) => enter('peer', packet(S, C, tag, chunk, flags))
    out(0, sctp.CHUNK_INIT)
    expect(state()).toBe('syn-sent')
    back(11, sctp.CHUNK_INIT_ACK)
    expect(state()).toBe('syn-received')
    out(22, sctp.CHUNK_COOKIE_ECHO)
    back(11, sctp.CHUNK_COOKIE_ACK)
    expect(state()).toBe('established')
    out(99, sctp.CHUNK_ABORT)
    back(22, sctp.CHUNK_ABORT)
    expect(state()).toBe('established')
    out(22, sctp.CHUNK_DATA)
    out(22, sctp.CHUNK_SHUTDOWN)
    expect(state()).toBe('closing')
    back(11, sctp.CHUNK_SHUTDOWN_ACK)
    out(22, sctp.CHUNK_SHUTDOWN_COMPLETE)
    expect(state()).toBe('closed')
  })

  it('is aborted with the right tag, or with the other side’s reflected', () => {
    for (const [tag, flags] of [
      [11, 0],
      [22, 1],
    ] as const) {
      tables = twoNodes()
      tables.flows.tick(nowMs)
      enter('pod', packet(C, S, 22, sctp.CHUNK_DATA))
      enter('peer', packet(S, C, 11, sctp.CHUNK_DATA))
      expect(state()).toBe('established')
      enter('peer', packet(S, C, tag, sctp.CHUNK_ABORT, flags))
      expect(state()).toBe('reset')
    }
  })
})

describe('ICMP', () => {
  it('echo is a flow: a question and its answers', () => {
    play(`
      pod  icmp 10.244.1.5 > 10.244.2.9 echo 7        => unanswered
      peer icmp 10.244.2.9 > 10.244.1.5 echo 7 type 0 => answered
      peer icmp 10.244.2.9 > 10.244.1.5 echo 7        => answered,unanswered
      pod  icmp fd00:10:244:1::5 > fd00:10:244:2::9 echo 7`)
    expect(flows().length).toBe(3)
  })

  it('that is neither echo nor about a flow is carried and leaves nothing', () => {
    expect(describeVerdict(enter('pod', buildBytes('icmp 10.244.1.5 > 10.244.2.9 type 13')))).toBe('peer 0')
    expect(describeVerdict(enter('pod', buildBytes('icmp fd00:10:244:1::5 > fd00:10:244:2::9 type 140')))).toBe(
      'peer 0',
    )
    expect(flows()).toEqual([])
  })

  it('errors about a flow neither open one nor keep it alive', () => {
    play(`pod udp ${C} > ${S}`)
    wait(20)
    expect(describeVerdict(enter('peer', errorAbout(`udp ${C} > ${S}`)))).toBe('pod 3')
    expect(flows().map((flow) => flow.state)).toEqual(['unanswered'])
    wait(16)
    expect(flows()).toEqual([])
  })
})

/** A time-exceeded from node 2's gateway about the packet, as polder itself writes it. */
function errorAbout(line: string): Uint8Array {
  const arena = new Uint8Array(8192)
  const bytes = buildBytes(line)
  arena.set(bytes, 64)
  const packet = new Packet(arena)
  packet.set(64, bytes.length)
  parse(packet)
  const out = new Packet(arena)
  out.at = 8192 - ANSWER_BYTES - 64
  answer(packet, DROP_TTL_EXPIRED, tables, out, false)
  // From the other node's gateway, so that the way back leads to the peer.
  const message = arena.slice(out.at, out.end)
  message[14] = 2
  const view = new DataView(message.buffer)
  view.setUint16(10, 0)
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i)
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
  return message
}

describe('fragments', () => {
  it('belong to the flow of their first one', () => {
    play(`
      pod udp ${C} > ${S} payload 40 id 5 ipflags 1
      pod udp ${C} > ${S} payload 40 id 5 fragment 185`)
    expect(flows()).toMatchObject([{ originalPackets: 2 }])
  })

  it('are carried, and belong to nothing, where the first one has not passed', () => {
    expect(describeVerdict(enter('pod', buildBytes(`udp ${C} > ${S} payload 40 id 6 fragment 185`)))).toBe('peer 0')
    play(`pod udp ${C} > ${S} payload 40 id 5 ipflags 1`)
    for (const other of [`udp ${C} > ${S} id 6`, `udp ${C} > 10.244.2.8:80 id 5`, `tcp ${C} > ${S} id 5`]) {
      enter('pod', buildBytes(`${other} payload 40 fragment 185`))
    }
    wait(29)
    enter('pod', buildBytes(`udp ${C} > ${S} payload 40 id 5 fragment 185`))
    expect(flows()).toMatchObject([{ originalPackets: 2 }])
  })
})

describe('where the first packet entered', () => {
  const W = '198.51.100.7:999'

  it('through a peer, from beyond the cluster: replies go back through that peer', () => {
    play(`peer tcp ${W} > ${C} flags syn seq 1`)
    expect(flows()).toMatchObject([{ origin: '192.0.2.2', source: { address: '198.51.100.7' } }])
    expect(describeVerdict(enter('pod', buildBytes(`tcp ${C} > ${W} flags syn,ack ackno 2`)))).toBe('peer 0')
    expect(describeVerdict(enter('pod', buildBytes(`tcp ${C} > 198.51.100.7:998 flags ack`)))).toBe('world')
  })

  it('through the host, for a pod elsewhere: replies may leave through the host', () => {
    const reply = buildBytes(`tcp ${S} > ${W} flags syn,ack ackno 2`)
    expect(describeVerdict(enter('peer', reply))).toBe('no-transit')
    play(`host tcp ${W} > ${S} flags syn seq 1`)
    expect(flows()).toMatchObject([{ origin: 'host' }])
    expect(describeVerdict(enter('peer', reply))).toBe('world')
  })

  it('errors about such a flow go the same way', () => {
    play(`peer udp ${W} > ${C}`)
    const unreachable = (about: string): Uint8Array => {
      const quoted = buildBytes(about)
      const bytes = buildBytes(`icmp 10.244.1.5 > 198.51.100.7 type 3 payload ${quoted.length}`)
      bytes.set(quoted, 28)
      return bytes
    }
    expect(describeVerdict(enter('pod', unreachable(`udp ${W} > ${C}`)))).toBe('peer 0')
    expect(describeVerdict(enter('pod', unreachable(`udp 198.51.100.7:1 > ${C}`)))).toBe('world')
  })
})

describe('a full table', () => {
  it('refuses by name what begins, and carries what goes on', () => {
    const { capacity } = tables.flows
    for (let i = 0; i < capacity; i++) {
      const [from, to] = [`10.244.${1 + (i & 1) * 1}.${i & 1 ? 9 : 5}:${1000 + i}`, i & 1 ? '10.244.1.6:1' : S]
      const there = i & 1 ? 'peer' : 'pod'
      const back = i & 1 ? 'podB' : 'peer'
      for (const turn of [`${there} ${from} > ${to}`, `${back} ${to} > ${from}`, `${there} ${from} > ${to}`]) {
        const [entrance, ...rest] = turn.split(' ')
        enter(entrance!, buildBytes(`udp ${rest.join(' ')}`))
      }
    }
    expect(flowTotals(tables.flows.words.buffer)).toMatchObject({ flows: capacity, evicted: 0 })
    expect(describeVerdict(enter('pod', buildBytes(`udp 10.244.1.5:7 > ${S}`)))).toBe('flow-table-full')
    expect(describeVerdict(enter('pod', buildBytes(`udp 10.244.1.5:1000 > ${S}`)))).toBe('peer 0')
    expect(flowTotals(tables.flows.words.buffer).refused).toBe(1)
  })
})
