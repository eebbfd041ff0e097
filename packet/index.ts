/**
 * `polder/packet`: bytes to verdict, as a library. Pure: no I/O, no clock, nothing of Node's. Parse a packet into a
 * slot, build tables from what is known, and ask an entrance what becomes of it:
 *
 *   const tables = openTables(buildTables(state))
 *   packet.set(at, length)
 *   const verdict = fromPod(packet, port, tables)
 */
export * from './address.ts'
export * as arp from './formats/arp.ts'
export * as checksum from './formats/checksum.ts'
export * as ethernet from './formats/ethernet.ts'
export * as icmp from './formats/icmp.ts'
export * as icmpv6 from './formats/icmpv6.ts'
export * as ipv4 from './formats/ipv4.ts'
export * as ipv6 from './formats/ipv6.ts'
export * as sctp from './formats/sctp.ts'
export * as tcp from './formats/tcp.ts'
export * as udp from './formats/udp.ts'
export * as vxlan from './formats/vxlan.ts'
export * from './packet.ts'
export { answer, isAnswered } from './path/answer.ts'
export { DROP_REASONS, type DropReason } from './path/drop-reason.ts'
export { fromHost } from './path/from-host.ts'
export { fromPeer } from './path/from-peer.ts'
export { fromPod } from './path/from-pod.ts'
export { parse } from './path/parse.ts'
export * from './path/verdict.ts'
export { ServiceBuilder } from './tables/service-builder.ts'
export type { ServiceBuffers, ServicePort } from './tables/service-port.ts'
export { ServiceTable } from './tables/services.ts'
export { buildTables, type NetworkState, openTables, type TableBuffers, type Tables } from './tables/tables.ts'
