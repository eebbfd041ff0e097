/**
 * Ethernet II: the frame around an overlay packet inside VXLAN (RFC 894; IEEE 802.3 clause 3).
 *
 *      0               1               2               3
 *    ┌───────────────────────────────────────────────────────────────┐
 *  0 │                          destination                          │
 *    ├───────────────────────────────┬───────────────────────────────┤
 *  4 │          destination          │             source            │
 *    ├───────────────────────────────┴───────────────────────────────┤
 *  8 │                             source                            │
 *    ├───────────────────────────────┬───────────────────────────────┤
 * 12 │           ethertype           │          payload ...          │
 *    └───────────────────────────────┴───────────────────────────────┘
 *
 * After check() no accessor can fail. A MAC address is read as a pair: High (first 2 bytes) and Low (last 4, signed).
 *
 * A frame with a length in place of the ethertype (802.3: spanning tree, LLC) is not well formed here; an 802.1Q tag is
 * just an ethertype that nobody takes (RFC 7348 section 6.1: inner frames carry none).
 */
const DST = 0
const SRC = 6
const ETHERTYPE = 12

/** V8 folds a name of the file's own into the code, an exported constant it loads at every use. */
const FIXED_HEADER_LEN = 14
export const HEADER_LEN = FIXED_HEADER_LEN

export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_IPV6 = 0x86dd
/** Values below are lengths of 802.3 frames. */
const ETHERTYPE_MIN = 0x0600

export function check(view: DataView, at: number, end: number): boolean {
  return end - at >= FIXED_HEADER_LEN && view.getUint16(at + ETHERTYPE) >= ETHERTYPE_MIN
}

export function dstAddrHigh(view: DataView, at: number): number {
  return view.getUint16(at + DST)
}

export function dstAddrLow(view: DataView, at: number): number {
  return view.getInt32(at + DST + 2)
}

export function srcAddrHigh(view: DataView, at: number): number {
  return view.getUint16(at + SRC)
}

export function srcAddrLow(view: DataView, at: number): number {
  return view.getInt32(at + SRC + 2)
}

export function etherType(view: DataView, at: number): number {
  return view.getUint16(at + ETHERTYPE)
}

/** Broadcast is a group address too. */
export function isToGroup(view: DataView, at: number): boolean {
  return (view.getUint8(at + DST) & 1) !== 0
}

export function setDstAddr(view: DataView, at: number, high: number, low: number): void {
  view.setUint16(at + DST, high)
  view.setInt32(at + DST + 2, low)
}

export function setSrcAddr(view: DataView, at: number, high: number, low: number): void {
  view.setUint16(at + SRC, high)
  view.setInt32(at + SRC + 2, low)
}

export function setEtherType(view: DataView, at: number, value: number): void {
  view.setUint16(at + ETHERTYPE, value)
}

/** Addresses as 48-bit numbers. */
export interface Fields {
  dstAddr: number
  srcAddr: number
  etherType: number
}

export function read(view: DataView, at: number): Fields {
  return {
    dstAddr: dstAddrHigh(view, at) * 2 ** 32 + (dstAddrLow(view, at) >>> 0),
    srcAddr: srcAddrHigh(view, at) * 2 ** 32 + (srcAddrLow(view, at) >>> 0),
    etherType: etherType(view, at),
  }
}

export function write(view: DataView, at: number, fields: Fields): void {
  setDstAddr(view, at, Math.floor(fields.dstAddr / 2 ** 32), fields.dstAddr | 0)
  setSrcAddr(view, at, Math.floor(fields.srcAddr / 2 ** 32), fields.srcAddr | 0)
  setEtherType(view, at, fields.etherType)
}
