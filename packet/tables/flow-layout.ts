/**
 * The flow table in memory, word by word: a header, the buckets of the index, then the entries. The memory is a mapped
 * file that outlives polderd, is written by the data path alone, and read by others meanwhile; so the layout says of
 * itself what it is. A polderd of another version finds each field by its number in the header's field table, and
 * takes over what it knows (flow-recovery.ts).
 *
 * An entry is three cache lines of 64 bytes. A lookup touches the bucket and the line of one tuple.
 *
 *   line 1   original tuple: source, destination, ports, protocol, next in the bucket │ life, status, expiry, origin, birth
 *   line 2   reply tuple, likewise                                                    │ the peer it entered through
 *   line 3   TCP and SCTP: what each side sent and acknowledged                       │ packets and bytes each way
 *
 * The reply tuple is what answers look like when they arrive: the mirror of the original one, unless addresses are
 * translated. Addresses are four words, IPv4 mapped. Times are tenths of a second of the machine's monotonic clock,
 * which all processes of one boot share.
 */
export const MAGIC = 0x706c6466
export const VERSION = 1

// The header.
export const H_MAGIC = 0
export const H_VERSION = 1
export const H_HEADER_WORDS = 2
export const H_ENTRY_WORDS = 3
export const H_CAPACITY = 4
export const H_BUCKET_MASK = 5
/** Random, so that nobody can choose ports that meet in one bucket. */
export const H_SEED = 6
/** The first free entry + 1; free entries are chained by their NEXT. 0: none. */
export const H_FREE = 7
/** Entries from here on were never used. */
export const H_HIGH_WATER = 8
export const H_COUNT = 9
/** Not 0 while index and free list contradict each other: a writer that ends here leaves a table to be rebuilt. */
export const H_MUTATING = 10
export const H_SWEEP = 11
export const H_EVICT = 12
/** Four words that differ after every boot: the clock begins anew, and so must the table. */
export const H_BOOT = 16
/** Doubles: how many flows were opened, expired, evicted before their time, refused. */
export const H_OPENED = 20
export const H_EXPIRED = 22
export const H_EVICTED = 24
export const H_REFUSED = 26
/** One word a field: number << 16 | offset << 8 | words. 0 ends the table. */
export const H_FIELDS = 64
export const HEADER_WORDS = 128

// The two tuples, and what each holds.
export const TUPLE_WORDS = 16
export const SRC = 0
export const DST = 4
/** As FlowKey has them. */
export const PORTS = 8
export const PROTOCOL = 9
/** The next in the bucket: reference + 1, or 0. */
export const NEXT = 10

// Behind the original tuple. LIFE is odd while the entry is in use, and never twice the same.
export const LIFE = 11
export const STATUS = 12
export const EXPIRES = 13
export const ORIGIN = 14
export const CREATED = 15
// Behind the reply tuple.
export const ORIGIN_ADDRESS = TUPLE_WORDS + 11
// One for each direction, original first: the highest sequence number it sent, acknowledged, and was allowed to send.
// SCTP keeps in SENT the verification tag that the direction carries.
export const SENT = 32
export const ACKNOWLEDGED = 34
export const ALLOWED = 36
/** Doubles: packets and bytes, original first. */
export const COUNTERS = 38
export const ENTRY_WORDS = 48

/** Number, offset and words of every field that is worth keeping. Numbers are for ever. */
export const FIELDS: readonly (readonly [number, number, number])[] = [
  [1, SRC, 4],
  [2, DST, 4],
  [3, PORTS, 1],
  [4, PROTOCOL, 1],
  [5, TUPLE_WORDS + SRC, 4],
  [6, TUPLE_WORDS + DST, 4],
  [7, TUPLE_WORDS + PORTS, 1],
  [8, TUPLE_WORDS + PROTOCOL, 1],
  [9, LIFE, 1],
  [10, STATUS, 1],
  [11, EXPIRES, 1],
  [12, ORIGIN, 1],
  [13, CREATED, 1],
  [14, ORIGIN_ADDRESS, 4],
  [15, SENT, 2],
  [16, ACKNOWLEDGED, 2],
  [17, ALLOWED, 2],
  [18, COUNTERS, 8],
  [19, 46, 1],
]

// STATUS, low four bits: where the conversation stands.
export const STATE_MASK = 0xf
/** Neither TCP nor SCTP. */
export const STATE_NONE = 0
export const STATE_SYN_SENT = 1
export const STATE_SYN_RECEIVED = 2
export const STATE_ESTABLISHED = 3
/** One side has said that it sends no more. */
export const STATE_CLOSING = 4
export const STATE_CLOSED = 5
export const STATE_RESET = 6
/** First seen in the middle: polderd had no table, or the flow took another way before. */
export const STATE_PICKED_UP = 7
// The bits above.
export const SEEN_REPLY = 0x10
/** Both sides have shown that they mean it: never evicted to make room. */
export const ASSURED = 0x20
export const FIN_ORIGINAL = 0x40
export const FIN_REPLY = 0x80
/** Window scales (RFC 7323), four bits a direction. */
export const SCALE_SHIFT = 8
/** One bit a direction, original first: something of it was seen; it has acknowledged something. */
export const KNOWN_SENT = 0x10000
export const KNOWN_ACKNOWLEDGED = 0x40000

/** The reply tuple is not the mirror of the original one. */
export const TRANSLATED = 0x100000
/** An endpoint's identity, 0 for none (services.ts). */
export const ENDPOINT = 46

// ORIGIN: where the first packet entered. Replies go back there.
export const ORIGIN_POD = 1
export const ORIGIN_PEER = 2
export const ORIGIN_HOST = 3

/** Words of a table of so many flows, header and index included. */
export function tableWords(capacity: number): number {
  return HEADER_WORDS + bucketsFor(capacity) + capacity * ENTRY_WORDS
}

/** Two tuples a flow, and about one a bucket. A power of two. */
export function bucketsFor(capacity: number): number {
  let buckets = 1024
  while (buckets < capacity * 2) buckets *= 2
  return buckets
}
