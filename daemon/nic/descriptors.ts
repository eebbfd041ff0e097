/**
 * The layout of what JavaScript and the addon share, in 32-bit words: the twin of addon/dataplane.h (a test compares).
 */
export const SLOT_BYTES = 66048

// Receive descriptor.
export const RX_PORT = 0
/** Byte offset in the arena: of the IP packet (TUN), or of the UDP payload (underlay). */
export const RX_OFFSET = 1
export const RX_LENGTH = 2
/** Underlay: bytes of each datagram of a GRO train; 0 where there is only one. */
export const RX_SEGMENT = 3
/** Checksum state in the low byte, gso type in the next. */
export const RX_FLAGS = 4
export const RX_GSO_SIZE = 5
/** Checksum start, and offset << 16, counted from the IP header. */
export const RX_CSUM = 6
/** The outer TOS or traffic class; 0 from a TUN. */
export const RX_TOS = 7
/** Four words: the underlay address it came from. */
export const RX_SRC_ADDR = 8
export const RX_WORDS = 12

// Transmit descriptor.
export const TX_PORT = 0
export const TX_OFFSET = 1
export const TX_LENGTH = 2
export const TX_FLAGS = 3
export const TX_GSO_SIZE = 4
export const TX_CSUM = 5
export const TX_PEER = 6
/** Offset of the transport header from the IP header, and protocol << 16; 0: an opaque packet. */
export const TX_L4 = 7
export const TX_HASH = 8
/** The outer TOS or traffic class. */
export const TX_TOS = 9
export const TX_WORDS = 10

// Ports that are no pods.
export const PORT_HOST = 0
export const PORT_UNDERLAY = 1
export const PORT_EVENT = 2
export const PORT_FIRST_POD = 3
export const MAX_PORTS = 4096
export const MAX_PEERS = 4096
export const MAX_SENDERS = 16

// What could not be sent, counted by the addon.
export const FAIL_SOCKET_FULL = 0
export const FAIL_TOO_BIG = 1
export const FAIL_UNREACHABLE = 2
export const FAIL_DEVICE = 3
export const FAIL_MALFORMED = 4
/** A path's MTU was found to be smaller: the peer's index + 1 (0: none), and the outer MTU in bytes (0: unknown). */
export const FAIL_MTU_PEER = 5
export const FAIL_MTU_BYTES = 6
export const FAIL_WORDS = 7
