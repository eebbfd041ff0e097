/**
 * The VXLAN header between the underlay's UDP and the overlay's Ethernet frame: RFC 7348 section 5.
 *
 *      0               1               2               3
 *    ┌───────────────┬───────────────────────────────────────────────┐
 *  0 │R R R R I R R R│                    reserved                   │
 *    ├───────────────┴───────────────────────────────┬───────────────┤
 *  4 │         VXLAN network identifier (VNI)        │    reserved   │
 *    └───────────────────────────────────────────────┴───────────────┘
 *
 * After check() no accessor can fail. Reserved bits are sent as zero and ignored on receipt, so extensions that give
 * them a meaning (group policy, generic protocol) are not understood.
 */
const FLAGS = 0
const RESERVED_1 = 1
const VNI = 4
const RESERVED_2 = 7

// Names of this file's own: V8 folds these into the code, an exported constant it loads at every use.
const ENVELOPE_LEN = 8
const VALID = 0x08
export const HEADER_LEN = ENVELOPE_LEN

export const UDP_PORT = 4789
/** The I flag: the VNI is valid. */
export const FLAG_VNI = VALID

export function check(view: DataView, at: number, end: number): boolean {
  return end - at >= ENVELOPE_LEN && (view.getUint8(at + FLAGS) & VALID) !== 0
}

export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS)
}

/** 24 bits. */
export function vni(view: DataView, at: number): number {
  return view.getInt32(at + VNI) >>> 8
}

/** The header for this VNI, all there is to say. */
export function init(view: DataView, at: number, vni: number): void {
  view.setInt32(at + FLAGS, FLAG_VNI << 24)
  view.setInt32(at + VNI, vni << 8)
}

/** `reserved1` is the 24 bits behind the flags, `reserved2` the last byte. */
export interface Fields {
  flags: number
  reserved1: number
  vni: number
  reserved2: number
}

export function read(view: DataView, at: number): Fields {
  return {
    flags: flags(view, at),
    reserved1: view.getInt32(at + FLAGS) & 0xffffff,
    vni: vni(view, at),
    reserved2: view.getUint8(at + RESERVED_2),
  }
}

export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint8(at + FLAGS, fields.flags)
  view.setUint8(at + RESERVED_1, fields.reserved1 >> 16)
  view.setUint16(at + RESERVED_1 + 1, fields.reserved1 & 0xffff)
  view.setInt32(at + VNI, (fields.vni << 8) | fields.reserved2)
}
