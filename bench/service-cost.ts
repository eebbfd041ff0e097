/**
 * Run as a process of its own: what Services cost without any device. The first packet of a flow, to a pod and through
 * ClusterIPs, one of few and of many; building what the path reads; and its size. Prints JSON.
 *
 *   node service-cost.ts SERVICES
 */
import { Packet } from '../packet/packet.ts'
import { fromPod } from '../packet/path/from-pod.ts'
import { indexOf, kindOf, TO_PEER } from '../packet/path/verdict.ts'
import { flowsInMemory } from '../packet/tables/flow-recovery.ts'
import { ServiceBuilder } from '../packet/tables/service-builder.ts'
import type { ServiceBuffers, ServicePort } from '../packet/tables/service-port.ts'
import { openFlowMemory, openTables } from '../packet/tables/tables.ts'
import { buildBytes } from '../test/support/build-packet.ts'
import { POD_A, twoNodesBuffers } from '../test/support/two-nodes.ts'
import { percentile } from './statistics.ts'

const ENDPOINTS = 10
const FLOWS = 60_000
const PASSES = 15
/** Packets that differ in where they go to. */
const PACKETS = 1024
const AT = 256
const CHANGES = 1000

const many = Number(process.argv[2])

/** Another `change`, other endpoints. */
function servicePort(n: number, change = 0): ServicePort {
  const endpoints = Array.from({ length: ENDPOINTS }, (_, e) => {
    const identity = (Math.imul(n * ENDPOINTS + e + change, 0x9e3779b1) >>> 1) | 1
    return { address: `10.244.2.${10 + ((n + e) % 200)}`, port: 8080, identity }
  })
  const all = endpoints.map((_, i) => i)
  const frontends = [{ address: addressOf(n), port: 80, from: 'inside' as const }]
  const rest = { usable: ENDPOINTS, inside: all, outside: all, affinitySeconds: 0, sourceRanges: [] }
  return { identity: n, protocol: 17, frontends, endpoints, ...rest }
}

function addressOf(n: number): string {
  return `10.96.${16 + (n >> 8)}.${n & 255}`
}

/** Nanoseconds of CPU time for the first packet of a flow: the median of the passes but the first ones. */
function firstPacketNs(services: ServiceBuffers, addresses: readonly string[], port: number): number {
  const packets = Array.from({ length: PACKETS }, (_, i) => {
    const to = addresses[Math.floor((i * addresses.length) / PACKETS)]!
    return buildBytes(`udp 10.244.1.5:1 > ${to}:${port} ttl 64 payload 64`)
  })
  const packet = new Packet(new Uint8Array(65_536))
  const passes: number[] = []
  for (let pass = 0; pass < PASSES; pass++) {
    const tables = openTables({ ...twoNodesBuffers([]), services }, openFlowMemory(flowsInMemory(FLOWS + 1000)))
    tables.flows.tick(1_000_000)
    const begin = process.threadCpuUsage()
    for (let i = 0; i < FLOWS; i++) {
      packet.bytes.set(packets[i % PACKETS]!, AT)
      packet.set(AT, packets[0]!.length)
      // Another source port, another flow.
      packet.view.setUint16(AT + 20, 1024 + i)
      const verdict = fromPod(packet, POD_A, tables)
      if (kindOf(verdict) !== TO_PEER) throw new Error(`not to a peer, but ${kindOf(verdict)} ${indexOf(verdict)}`)
    }
    const { user, system } = process.threadCpuUsage(begin)
    passes.push(((user + system) * 1e3) / FLOWS)
  }
  return percentile(passes.slice(PASSES / 3), 0.5)
}

function changeUs(builder: ServiceBuilder): number {
  const times = Array.from({ length: CHANGES }, (_, i) => {
    const n = (i * 7919) % many
    const port = servicePort(n, i + 1)
    const begin = performance.now()
    builder.set(`s${n}`, [port])
    builder.build()
    return (performance.now() - begin) * 1e3
  })
  return percentile(times, 0.5)
}

const one = new ServiceBuilder()
one.set('s0', [servicePort(0)])
const builder = new ServiceBuilder()
for (let n = 0; n < many; n++) builder.set(`s${n}`, [servicePort(n)])
const buffers = builder.build()
const bytes = Object.values(buffers).reduce((sum, { byteLength }: SharedArrayBuffer) => sum + byteLength, 0)
const pods = Array.from({ length: 200 }, (_, i) => `10.244.2.${i + 10}`)
console.log(
  JSON.stringify({
    podNs: firstPacketNs(one.build(), pods, 8080),
    oneNs: firstPacketNs(one.build(), [addressOf(0)], 80),
    manyNs: firstPacketNs(
      buffers,
      Array.from({ length: many }, (_, n) => addressOf(n)),
      80,
    ),
    bytesAnEndpoint: bytes / (many * ENDPOINTS),
    changeUs: changeUs(builder),
  }),
)
