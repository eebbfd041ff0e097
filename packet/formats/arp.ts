/**
 * ARP for IPv4 over Ethernet, the only kind there is on an overlay (RFC 826; RFC 5227 for its use in probes).
 *
 *      0               1               2               3
 *    ┌───────────────────────────────┬───────────────────────────────┐
 *  0 │       hardware type = 1       │     protocol type = 0x0800    │
 *    ├───────────────┬───────────────┼───────────────────────────────┤
 *  4 │    hlen = 6   │    plen = 4   │           operation           │
 *    ├───────────────┴───────────────┴───────────────────────────────┤
 *  8 │                    sender hardware address                    │
 *    ├───────────────────────────────┬───────────────────────────────┤
 * 12 │    sender hardware address    │    sender protocol address    │
 *    ├───────────────────────────────┼───────────────────────────────┤
 * 16 │    sender protocol address    │    target hardware address    │
 *    ├───────────────────────────────┴───────────────────────────────┤
 * 20 │                    target hardware address                    │
 *    ├───────────────────────────────────────────────────────────────┤
 * 24 │                    target protocol address                    │
 *    └───────────────────────────────────────────────────────────────┘
 *
 * After check() no accessor can fail. MAC addresses are pairs as in ethernet.ts, IPv4 addresses words as in ipv4.ts.
 * Keeps no neighbour table and answers nothing.
 */
const HARDWARE_TYPE = 0
const PROTOCOL_TYPE = 2
const HARDWARE_LENGTH = 4
const PROTOCOL_LENGTH = 5
const OPERATION = 6
const SENDER_HARDWARE_ADDR = 8
const SENDER_PROTOCOL_ADDR = 14
const TARGET_HARDWARE_ADDR = 18
const TARGET_PROTOCOL_ADDR = 24

export const HEADER_LEN = 28

export const OPERATION_REQUEST = 1
export const OPERATION_REPLY = 2

const HARDWARE_ETHERNET = 1
const PROTOCOL_IPV4 = 0x0800
/** Hardware length 6 and protocol length 4, read as one. */
const LENGTHS = 0x0604

export function check(view: DataView, at: number, end: number): boolean {
  return (
    end - at >= HEADER_LEN &&
    view.getUint16(at + HARDWARE_TYPE) === HARDWARE_ETHERNET &&
    view.getUint16(at + PROTOCOL_TYPE) === PROTOCOL_IPV4 &&
    view.getUint16(at + HARDWARE_LENGTH) === LENGTHS
  )
}

export function operation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION)
}

export function senderHardwareAddrHigh(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_HARDWARE_ADDR)
}

export function senderHardwareAddrLow(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_HARDWARE_ADDR + 2)
}

export function senderProtocolAddr(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_PROTOCOL_ADDR)
}

export function targetHardwareAddrHigh(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_HARDWARE_ADDR)
}

export function targetHardwareAddrLow(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_HARDWARE_ADDR + 2)
}

export function targetProtocolAddr(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_PROTOCOL_ADDR)
}

/** An empty message for IPv4 over Ethernet; the setters fill it in. */
export function init(view: DataView, at: number): void {
  view.setUint16(at + HARDWARE_TYPE, HARDWARE_ETHERNET)
  view.setUint16(at + PROTOCOL_TYPE, PROTOCOL_IPV4)
  view.setUint8(at + HARDWARE_LENGTH, LENGTHS >> 8)
  view.setUint8(at + PROTOCOL_LENGTH, LENGTHS & 0xff)
  setOperation(view, at, 0)
  setSenderHardwareAddr(view, at, 0, 0)
  setSenderProtocolAddr(view, at, 0)
  setTargetHardwareAddr(view, at, 0, 0)
  setTargetProtocolAddr(view, at, 0)
}

export function setOperation(view: DataView, at: number, value: number): void {
  view.setUint16(at + OPERATION, value)
}

export function setSenderHardwareAddr(view: DataView, at: number, high: number, low: number): void {
  view.setUint16(at + SENDER_HARDWARE_ADDR, high)
  view.setInt32(at + SENDER_HARDWARE_ADDR + 2, low)
}

export function setSenderProtocolAddr(view: DataView, at: number, word: number): void {
  view.setInt32(at + SENDER_PROTOCOL_ADDR, word)
}

export function setTargetHardwareAddr(view: DataView, at: number, high: number, low: number): void {
  view.setUint16(at + TARGET_HARDWARE_ADDR, high)
  view.setInt32(at + TARGET_HARDWARE_ADDR + 2, low)
}

export function setTargetProtocolAddr(view: DataView, at: number, word: number): void {
  view.setInt32(at + TARGET_PROTOCOL_ADDR, word)
}

/** Hardware addresses as 48-bit numbers, protocol addresses as signed words. */
export interface Fields {
  operation: number
  senderHardwareAddr: number
  senderProtocolAddr: number
  targetHardwareAddr: number
  targetProtocolAddr: number
}

export function read(view: DataView, at: number): Fields {
  return {
    operation: operation(view, at),
    senderHardwareAddr: senderHardwareAddrHigh(view, at) * 2 ** 32 + (senderHardwareAddrLow(view, at) >>> 0),
    senderProtocolAddr: senderProtocolAddr(view, at),
    targetHardwareAddr: targetHardwareAddrHigh(view, at) * 2 ** 32 + (targetHardwareAddrLow(view, at) >>> 0),
    targetProtocolAddr: targetProtocolAddr(view, at),
  }
}

export function write(view: DataView, at: number, fields: Fields): void {
  init(view, at)
  setOperation(view, at, fields.operation)
  const { senderHardwareAddr, targetHardwareAddr } = fields
  setSenderHardwareAddr(view, at, Math.floor(senderHardwareAddr / 2 ** 32), senderHardwareAddr | 0)
  setSenderProtocolAddr(view, at, fields.senderProtocolAddr)
  setTargetHardwareAddr(view, at, Math.floor(targetHardwareAddr / 2 ** 32), targetHardwareAddr | 0)
  setTargetProtocolAddr(view, at, fields.targetProtocolAddr)
}
