/**
 * The typed face of the C addon: what polderd asks of the machine and Node cannot give. Every call is synchronous and
 * throws a NicError whose `code` is errno's name. The data plane's batched calls are wrapped by dataplane/ports.ts.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { PolderError } from '../errors.ts'

export interface NicError extends Error {
  code: string
  errno: number
  operation: string
}

/** An opaque handle of the worker's data plane. */
export interface DataplaneHandle {
  readonly dataplane: unique symbol
}

/** An opaque handle of a descriptor that is watched. */
export interface WatchHandle {
  readonly watch: unique symbol
}

interface Addon {
  openTun(netnsFd: number, name: string): number
  openNetlink(netnsFd: number, groups: number, protocol: number): number
  sendMessage(fd: number, bytes: Uint8Array): number
  receiveMessage(fd: number, into: Uint8Array): number
  takeNotices(fd: number): boolean
  openUnderlay(address: Uint8Array, port: number, receives: number): number
  probeOffloads(tunFd: number): number
  socketDrops(fd: number): number
  openEvent(): number
  signalEvent(fd: number): void
  closeFd(fd: number): void
  createNetns(path: string): void
  deleteNetns(path: string): void
  flock(fd: number): boolean
  receiveOffload(name: string): number
  setReceiveOffload(name: string, on: number): void
  connectMessages(path: string, timeoutMs: number): number
  sendDescriptors(fd: number, bytes: Uint8Array, fds: Int32Array): void
  receiveDescriptors(fd: number, into: Uint8Array, fds: Int32Array): number
  notifySocket(path: string, bytes: Uint8Array, fds: Int32Array): void
  isConnected(fd: number): boolean
  isTun(fd: number, netnsFd: number, name: string): boolean
  isUnderlay(fd: number, address: Uint8Array, port: number): boolean
  openLink(index: number, etherType: number): number
  joinGroup(fd: number, index: number, mac: Uint8Array, joins: number): void
  watchReadable(fd: number, callback: () => void): WatchHandle
  unwatch(handle: WatchHandle): void
  mapFile(fd: number, bytes: number): ArrayBuffer
  reserveFile(fd: number, offset: number, bytes: number): boolean
  releaseMemory(): void
  dataplaneCreate(
    arena: Uint8Array,
    rx: Int32Array,
    tx: Int32Array,
    failures: Int32Array,
    senders: Int32Array,
  ): DataplaneHandle
  dataplaneSetSenders(plane: DataplaneHandle, senders: Int32Array): void
  dataplaneSetPort(plane: DataplaneHandle, port: number, fd: number): void
  dataplaneSetPeers(plane: DataplaneHandle, words: Int32Array, count: number): void
  dataplaneReceive(plane: DataplaneHandle, timeoutMs: number): number
  dataplaneSend(plane: DataplaneHandle, count: number): void
  checksum(bytes: Uint8Array, start: number, end: number): number
}

function load(): Addon {
  const path = fileURLToPath(new URL('../../build/polder-nic.node', import.meta.url))
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch (error) {
    throw new PolderError('not-built', `the native addon cannot be loaded: ${String(error)}`, 'Run ./scripts/build.')
  }
}

const addon = load()

/**
 * Opens the TUN device `name` in a network namespace (`netnsFd` -1: this process's own): creates it, or attaches again
 * to a persistent one that nobody holds (EBUSY where somebody does). Persistent, with vnet headers, checksum and
 * segmentation offloads; packets carry a 10-byte virtio_net_hdr in front.
 */
export const openTun = addon.openTun
export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12
/** A netlink socket in that namespace, subscribed to `groups` (a bit mask), receiving with a time-out of 2 s. */
export const openNetlink = (netnsFd: number, groups: number, protocol = NETLINK_ROUTE): number =>
  addon.openNetlink(netnsFd, groups, protocol)
export const sendMessage = addon.sendMessage
/** Resolves to the message's real length, also where it did not fit and was cut. */
export const receiveMessage = addon.receiveMessage
/** Whether a socket that is subscribed had messages, be they lost for want of room; they are gone then. Does not wait. */
export const takeNotices = addon.takeNotices
/** A UDP socket bound to `address` (4 or 16 bytes) and `port` (0: any), don't-fragment set; `receives`: 0 not at all, 1 with UDP GRO, 2 without. */
export const openUnderlay = addon.openUnderlay
/** What probeOffloads finds, as bits: datagrams sent in trains, received in trains, and trains through a TUN. */
export const OFFLOAD_UDP_SEGMENT = 1
export const OFFLOAD_UDP_GRO = 2
export const OFFLOAD_TUN_USO = 4
/** Asks the kernel; `tunFd` is a TUN opened here, and keeps its settings. */
export const probeOffloads = addon.probeOffloads
/** Datagrams that a socket's buffer had no room for, since it was opened. */
export const socketDrops = addon.socketDrops
export const openEvent = addon.openEvent
export const signalEvent = addon.signalEvent
export const closeFd = addon.closeFd
/** Makes an empty network namespace and binds it to the new file `path`, as `ip netns add` does. */
export const createNetns = addon.createNetns
export const deleteNetns = addon.deleteNetns
/** Takes the exclusive lock of an open file description; false where another holds it. */
export const flock = addon.flock
/** Whether generic receive offload of an interface is on, as 0 or 1; EOPNOTSUPP where it has none. */
export const receiveOffload = addon.receiveOffload
export const setReceiveOffload = addon.setReceiveOffload
/** A Unix seqpacket socket to `path`; each call on it waits at most `timeoutMs` (EAGAIN). */
export const connectMessages = addon.connectMessages
/** One message, with descriptors beside it, which stay the caller's too. */
export const sendDescriptors = addon.sendDescriptors
/** Answers the message's length, 0 where the other end is gone; `fds` holds the descriptors, -1 behind the last. */
export const receiveDescriptors = addon.receiveDescriptors
/** One datagram to a Unix socket; `@NAME` is of the abstract kind, as systemd writes it. */
export const notifySocket = addon.notifySocket
/** Whether the other end of a connected socket is still there. */
export const isConnected = addon.isConnected
/** Whether a descriptor of unknown origin is attached to this very TUN, as openTun would attach it. */
export const isTun = addon.isTun
/** Whether it is a UDP socket of this network namespace, bound to just this address and port. */
export const isUnderlay = addon.isUnderlay
/** A packet socket on an interface, for whole frames; it receives ARP, or of IPv6 neighbour solicitations. Never waits (EAGAIN). */
export const openLink = addon.openLink
/** Frames to the group `mac` come in on the interface (1), or do not any more (0). */
export const joinGroup = addon.joinGroup
/** Calls whenever there is something to read, or an error to find. */
export const watchReadable = addon.watchReadable
/** Once, and before the descriptor is closed. */
export const unwatch = addon.unwatch
/** The first `bytes` bytes of a file as memory that is shared with whoever else maps them. Not to be posted to a thread. */
export const mapFile = addon.mapFile
/** Sees to it that there is memory (or disk) behind a part of a file; false where there is none left. */
export const reserveFile = addon.reserveFile
/** Gives the kernel back what malloc keeps of freed memory, and the pages of Node's program that nobody uses now. */
export const releaseMemory = addon.releaseMemory
export const dataplaneCreate = addon.dataplaneCreate
export const dataplaneSetSenders = addon.dataplaneSetSenders
export const dataplaneSetPort = addon.dataplaneSetPort
export const dataplaneSetPeers = addon.dataplaneSetPeers
export const dataplaneReceive = addon.dataplaneReceive
export const dataplaneSend = addon.dataplaneSend
/** The C code's RFC 1071 sum of bytes[start, end), folded, not complemented. */
export const checksum = addon.checksum
