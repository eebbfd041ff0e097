/**
 * A million mutated packets for each entrance, from seeds that are real packets and captures: nothing throws, nothing
 * is written outside the packet and its headroom, and what becomes of each is what the naive router says. The seed of
 * the random numbers is printed; TEST_POLDER_SEED repeats a run.
 */
import { afterAll, expect, it } from 'vitest'
import { Packet } from '../../../packet/packet.ts'
import { DROP_REASONS } from '../../../packet/path/drop-reason.ts'
import { fromHost } from '../../../packet/path/from-host.ts'
import { fromPeer } from '../../../packet/path/from-peer.ts'
import { fromPod } from '../../../packet/path/from-pod.ts'
import { DROP, kindOf, type Verdict } from '../../../packet/path/verdict.ts'
import { buildBytes } from '../../support/build-packet.ts'
import { envelopeBytes } from '../../support/envelope.ts'
import { type Entrance, judge } from '../../support/naive-router.ts'
import { readPcap } from '../../support/pcap.ts'
import { describeVerdict, POD_A, twoNodes } from '../../support/two-nodes.ts'

const MUTANTS = 1_000_000
/** Every delivered packet is judged, and of the dropped ones one in so many. */
const JUDGED_OF_DROPPED = 50
const HEADROOM = 64
const GUARD = 0xa5
/** The MTU of the cluster, for the seed that does not fit. */
const BIG = 'payload 1440'

const tables = twoNodes()
const arena = new Uint8Array(70_000).fill(GUARD)
const slot = new Packet(arena)
const reached = new Map<string, number>()

const seed = Number(process.env['TEST_POLDER_SEED'] ?? (Math.random() * 2 ** 31) | 0)
let state = seed
/** Mulberry32: small, fast, good enough to choose mutations. */
function random(below: number): number {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) % below
}

const FROM = { 'from-pod': ['10.244.1.5', 'fd00:10:244:1::5'], 'from-host': ['10.244.1.1', 'fd00:10:244:1::1'] }
const TO = [
  ['10.244.1.6', 'fd00:10:244:1::6'],
  ['10.244.2.9', 'fd00:10:244:2::9'],
  ['10.244.1.1', 'fd00:10:244:1::1'],
  ['192.0.2.1', '2001:db8::1'],
  ['10.244.1.99', 'fd00:10:244:1::99'],
  ['10.244.77.1', 'fd00:10:244:77::1'],
]
const SHAPES = ['ttl 64', 'ttl 1', BIG, `${BIG} ipflags 0`, 'fragment 7', 'ecn 1', 'payload 33']
const PROTOCOLS = ['udp', 'tcp', 'icmp']

function seedsFrom(sources: readonly string[]): Uint8Array[] {
  return sources.flatMap((src, family) =>
    TO.flatMap((to) =>
      PROTOCOLS.flatMap((protocol) =>
        SHAPES.filter((shape) => family === 0 || !shape.startsWith('fragment')).map((shape) => {
          const separator = family === 0 ? ':' : '.'
          const ports = protocol === 'icmp' ? ['', ''] : [`${separator}1000`, `${separator}80`]
          return buildBytes(`${protocol} ${src}${ports[0]} > ${to[family]}${ports[1]} ${shape}`)
        }),
      ),
    ),
  )
}

const CAPTURED = ['vxlan.pcap', 'gso-ipv4-vxlan-ipv4.pcap', 'gso-ipv6-vxlan-ipv4.pcap'].flatMap((name) =>
  readPcap(`${import.meta.dirname}/../../vectors/${name}`).map(({ bytes }) => bytes),
)

/** What every new pod says first. */
const LINK_LOCAL = ['icmp fe80::1 > fe80::2', 'icmp fe80::1 > ff02::2'].map(buildBytes)

const CORPORA: Record<Entrance, Uint8Array[]> = {
  'from-pod': [...LINK_LOCAL, ...seedsFrom(FROM['from-pod']), ...CAPTURED.map((bytes) => bytes.slice(64))],
  'from-host': [...seedsFrom(FROM['from-host']), ...CAPTURED.map((bytes) => bytes.slice(64))],
  'from-peer': [
    ...seedsFrom(['10.244.2.9', 'fd00:10:244:2::9']).map((ip) => envelopeBytes(ip)),
    ...CAPTURED.map((bytes) => bytes.slice(42)),
  ],
}

const ENTER: Record<Entrance, (peer: number) => Verdict> = {
  'from-pod': () => fromPod(slot, POD_A, tables),
  'from-host': () => fromHost(slot, tables),
  'from-peer': (peer) => fromPeer(slot, peer, tables),
}

/** Writes a mutant of `seed` into the arena and answers its length. */
function mutate(original: Uint8Array): number {
  arena.set(original, HEADROOM)
  let length = original.length
  // Three in four keep their bytes but for a few, most of them in the headers.
  for (let changes = random(4); changes > 0; changes--) {
    const at = HEADROOM + (random(4) === 0 ? random(length) : random(Math.min(length, 62)))
    const how = random(3)
    if (how === 0) arena[at] = random(256)
    else if (how === 1) arena[at]! ^= 1 << random(8)
    else arena[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)]!
  }
  if (random(8) === 0) length = random(length + 1)
  return length
}

/** Makes a mutated IPv4 header's checksum right again half of the time, or nothing behind it would ever be tried. */
function mend(at: number, length: number): void {
  if (length < 20 || arena[at]! >> 4 !== 4 || random(2) === 0) return
  const header = (arena[at]! & 15) * 4
  if (header < 20 || header > length) return
  slot.view.setUint16(at + 10, 0)
  let sum = 0
  for (let i = 0; i < header; i += 2) sum += slot.view.getUint16(at + i)
  sum = (sum & 0xffff) + (sum >>> 16)
  slot.view.setUint16(at + 10, ~((sum & 0xffff) + (sum >>> 16)))
}

function untouched(at: number, bytes: number): boolean {
  for (let i = at; i < at + bytes; i++) if (arena[i] !== GUARD) return false
  return true
}

it.each(['from-pod', 'from-peer', 'from-host'] as const)(
  '%s: a million mutants, each judged as the naive router does',
  (entrance) => {
    const corpus = CORPORA[entrance]
    let delivered = 0
    for (let i = 0; i < MUTANTS; i++) {
      const length = mutate(corpus[random(corpus.length)]!)
      arena.fill(GUARD, HEADROOM + length, HEADROOM + length + 32)
      mend(HEADROOM + (entrance === 'from-peer' ? 22 : 0), length - (entrance === 'from-peer' ? 22 : 0))
      const outerTos = entrance === 'from-peer' ? random(4) : 0
      const peer = random(1000) === 0 ? -1 : 0
      const judged = i % JUDGED_OF_DROPPED === 0 ? arena.slice(HEADROOM, HEADROOM + length) : undefined
      const before = judged ?? arena.slice(HEADROOM, HEADROOM + length)
      slot.set(HEADROOM, length)
      slot.outerTos = outerTos
      const verdict = ENTER[entrance](peer)
      const said = describeVerdict(verdict)
      reached.set(said, (reached.get(said) ?? 0) + 1)
      const dropped = kindOf(verdict) === DROP
      if (!dropped) delivered++
      if (peer === 0 && (judged !== undefined || !dropped)) {
        const expected = judge(entrance, before, outerTos)
        if (expected !== (dropped ? 'drop' : said)) {
          throw new Error(`${said}, should be ${expected}: ${Buffer.from(before).toString('hex')} (seed ${seed})`)
        }
      }
      if (!untouched(0, HEADROOM - 22) || !untouched(HEADROOM + length, 32))
        throw new Error(`wrote outside (seed ${seed})`)
      arena.fill(GUARD, HEADROOM - 22, HEADROOM)
    }
    expect(delivered).toBeGreaterThan(MUTANTS / 100)
  },
  120_000,
)

/**
 * What only a device, a socket or a dying worker can answer (test/netns/drop-reasons and worker-death.test.ts reach
 * those), what a table answers whose every flow is assured (flow.test.ts), and what Services answer (service.test.ts).
 */
const OTHERS = [
  'socket-full',
  'underlay-too-big',
  'peer-unreachable',
  'device-refused',
  'bad-offload',
  'poison',
  'flow-table-full',
  'no-endpoint',
  'no-local-endpoint',
  'no-such-service-port',
  'endpoint-gone',
  'source-not-allowed',
  'no-free-port',
]

it('every reason that the path itself can give was given', () => {
  const never = DROP_REASONS.slice(1)
    .map(({ name }) => name)
    .filter((name) => !OTHERS.includes(name) && !reached.has(name))
  expect(never).toEqual([])
})

afterAll(() => {
  const lines = [...reached].sort((a, b) => b[1] - a[1]).map(([what, count]) => `  ${what.padEnd(22)} ${count}`)
  console.log(`seed ${seed}: what became of 3 million mutants\n${lines.join('\n')}`)
})
