/**
 * Run as a process of its own: a flow table with a million flows, opened, looked up in random order from both sides, and
 * expired all at once. Prints {"openNs":…,"lookupNs":…,"memoryMB":…,"worstTickMs":…}.
 *
 * Expiry is a part of a round in every batch: what is asked is how long the longest part takes, while all flows run out
 * together and a batch comes every millisecond. Times are CPU time: whoever else runs does not count.
 */
import { FlowKey } from '../packet/flow-key.ts'
import { Packet } from '../packet/packet.ts'
import { flowsInMemory } from '../packet/tables/flow-recovery.ts'
import { NO_FLOW } from '../packet/tables/flows.ts'

const FLOWS = 1_000_000
const WARM_UP_FLOWS = 50_000
const LOOKUPS = 2_000_000
/** Goes through all of them, in an order that no cache foresees. */
const STRIDE = 387_413
const LIFETIME = 10
const BATCH_MS = 1
/** ::ffff:10.244.0.0, a pod's network, and 10.96.0.0. */
const MAPPED = 0xffff
const CLIENTS = 0x0af40000
const SERVERS = 0x0a600000

const key = new FlowKey()
const mirror = new FlowKey()
const packet = new Packet(new Uint8Array(128))
packet.set(32, 64)

/** Sets `key` to the tuple of flow `i` as its first packet has it, `mirror` to its answers'. */
function tupleOf(i: number): void {
  key.src2 = key.dst2 = mirror.src2 = mirror.dst2 = MAPPED
  key.src3 = mirror.dst3 = CLIENTS + (i & 0xff)
  key.dst3 = mirror.src3 = SERVERS + ((i >>> 8) & 0xf)
  const port = 1024 + (i >>> 12)
  key.ports = (port << 16) | 443
  mirror.ports = (443 << 16) | port
  key.protocol = mirror.protocol = 17
}

function cpuNs(work: () => void): number {
  const begin = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(begin)
  return (user + system) * 1e3
}

function measure(count: number) {
  const before = process.memoryUsage.rss()
  const flows = flowsInMemory(count)
  let nowMs = 0
  flows.tick(nowMs)
  const opening = cpuNs(() => {
    for (let i = 0; i < count; i++) {
      tupleOf(i)
      flows.touch(flows.open(key, mirror), packet, LIFETIME)
    }
  })
  if (flows.size !== count) throw new Error(`only ${flows.size} flows are held`)

  let missed = 0
  const looking = cpuNs(() => {
    for (let i = 0, at = 0; i < LOOKUPS; i++, at = (at + STRIDE) % count) {
      tupleOf(at)
      if (flows.find(i & 1 ? mirror : key) === NO_FLOW) missed++
    }
  })
  if (missed > 0) throw new Error(`${missed} flows were not found`)
  const memory = process.memoryUsage.rss() - before

  nowMs += LIFETIME * 100
  let worst = 0
  while (flows.size > 0) {
    nowMs += BATCH_MS
    worst = Math.max(
      worst,
      cpuNs(() => flows.tick(nowMs)),
    )
  }
  return { openNs: opening / count, lookupNs: looking / LOOKUPS, memoryMB: memory / 1e6, worstTickMs: worst / 1e6 }
}

// Until it is compiled.
measure(WARM_UP_FLOWS)
console.log(JSON.stringify(measure(FLOWS)))
