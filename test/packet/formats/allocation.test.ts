/**
 * Nothing that runs for every packet allocates: the heap after thousands of checks, accessors, setters and checksums is
 * as large as before. A loop that makes one small object each time shows that the measurement would see it.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import * as icmpv6 from '../../../packet/formats/icmpv6.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as ipv6 from '../../../packet/formats/ipv6.ts'
import * as sctp from '../../../packet/formats/sctp.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import { fromHex, viewOf } from '../../support/hex.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const ITERATIONS = 5000
/** The smallest heap object is 16 bytes; what the measurement itself costs stays below this. */
const NOISE_BYTES = ITERATIONS * 4

/** How much the heap grew over one round, the least of several rounds, after the code was optimised. */
function heapGrowthBytes(iteration: (i: number) => void): number {
  for (let i = 0; i < 200_000; i++) iteration(i)
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    collectGarbage()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < ITERATIONS; i++) iteration(i)
    least = Math.min(least, process.memoryUsage().heapUsed - before)
  }
  return least
}

const view4 = viewOf(fromHex(`4500 0028 0001 0000 ff06 0000 0a00 0001 0a00 0002 ${'5010'.repeat(10)}`))
const view6 = viewOf(fromHex(`6000 0000 0018 3c40 ${'fd00'.repeat(16)} 1100 0000 0000 0000 ${'0010'.repeat(8)}`))
const upper = ipv6.upperLayer()
/** Results go here, so that no call can be optimised away. */
const seen = new Int32Array(1)

function translateIpv4(i: number): void {
  if (!ipv4.check(view4, 0, 40) || !tcp.check(view4, 20, 40)) throw new Error('the sample is broken')
  const word = (i * 0x9e3779b1) | 0
  const old = ipv4.srcAddr(view4, 0)
  ipv4.setSrcAddr(view4, 0, word)
  tcp.adjustChecksum(view4, 20, old, word)
  tcp.adjustChecksumPartial(view4, 20, word, old)
  tcp.setSrcPort(view4, 20, i & 0xffff)
  tcp.setSequenceNumber(view4, 20, word)
  ipv4.setTtl(view4, 0, 64)
  ipv4.decrementTtl(view4, 0)
  tcp.fillChecksum(view4, 20, 40, ipv4.pseudoHeader(view4, 0, 6, 20))
  seen[0]! ^= tcp.acknowledgmentNumber(view4, 20) ^ (ipv4.verifyChecksum(view4, 0) ? 1 : 0)
}

function translateIpv6(i: number): void {
  const word = (i * 0x9e3779b1) | 0
  if (!ipv6.check(view6, 0, 64) || !ipv6.walk(view6, 0, 64, upper)) throw new Error('the sample is broken')
  const old = ipv6.dstAddrWord(view6, 0, 3)
  ipv6.setDstAddrWord(view6, 0, 3, word)
  if (udp.check(view6, upper.offset, 64)) udp.adjustChecksum(view6, upper.offset, old, word)
  udp.setDstPort(view6, upper.offset, i & 0xffff)
  icmpv6.fillChecksum(view6, 48, 64, ipv6.pseudoHeader(view6, 0, 58, 16))
  sctp.fillChecksum(view6, 48, 64)
  seen[0]! ^= sctp.checksum(view6, 48) ^ ipv6.flowLabel(view6, 0)
}

test('IPv4 and TCP', () => {
  expect(heapGrowthBytes(translateIpv4)).toBeLessThan(NOISE_BYTES)
})

test('IPv6, UDP, ICMPv6 and SCTP', () => {
  expect(heapGrowthBytes(translateIpv6)).toBeLessThan(NOISE_BYTES)
})

test('the measurement sees one object an iteration', () => {
  const kept: object[] = []
  expect(heapGrowthBytes((i) => (kept[i & 7] = { seen: i }))).toBeGreaterThan(NOISE_BYTES)
})
