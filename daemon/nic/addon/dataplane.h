/*
 * The worker's half of the software NIC: batches in, batches out. JavaScript and C share three typed arrays, made by
 * JavaScript: the arena of slots, the receive descriptors and the transmit descriptors (layouts below; their twins in
 * TypeScript are in daemon/nic/descriptors.ts, and a test compares the two).
 *
 * C moves bytes, sums, segments and coalesces. Where a packet goes, and whether, was decided in JavaScript before.
 */
#pragma once
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* Linux 6.2; headers of Debian 12 are older */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
  SLOT_BYTES = 66048,  /* a whole super-packet, its headroom, and a multiple of 512 */
  SLOT_HEADROOM = 128, /* the IP packet starts here: 16-aligned, room for VXLAN + Ethernet or a vnet header before it */
  VNET_BYTES = 10,     /* struct virtio_net_hdr */
  ENCAP_BYTES = 22,    /* VXLAN (8) + inner Ethernet (14), written by JavaScript before the IP packet */
  MAX_PORTS = 4096,
  MAX_PEERS = 4096,
  MAX_SENDERS = 16,
  UNDERLAY_MESSAGES = 64, /* of one recvmmsg */
  PORT_PACKETS = 64,      /* reads from one TUN in one batch */
};

/* Receive descriptor, in 32-bit words. */
enum { RX_PORT, RX_OFFSET, RX_LENGTH, RX_SEGMENT, RX_FLAGS, RX_GSO_SIZE, RX_CSUM, RX_TOS, RX_SRC_ADDR, RX_WORDS = 12 };
/* Transmit descriptor, in 32-bit words. */
enum { TX_PORT, TX_OFFSET, TX_LENGTH, TX_FLAGS, TX_GSO_SIZE, TX_CSUM, TX_PEER, TX_L4, TX_HASH, TX_TOS, TX_WORDS };
/* FLAGS: the low byte is the checksum state, the next the virtio gso type. CSUM: start | offset << 16, from the IP header. L4: offset | protocol << 16; 0: do not look inside. */
enum { CSUM_FULL = 0, CSUM_PARTIAL = 1 };
/* What a port is. Ports 0 and 1 are fixed, pods follow. */
enum { PORT_HOST = 0, PORT_UNDERLAY = 1, PORT_EVENT = 2, PORT_FIRST_POD = 3 };
/* Counters of what could not be sent, then a report: a peer (its index + 1, 0 for none) and the MTU of the path to it. */
enum { FAIL_SOCKET_FULL, FAIL_TOO_BIG, FAIL_UNREACHABLE, FAIL_DEVICE, FAIL_MALFORMED, FAIL_MTU_PEER, FAIL_MTU_BYTES, FAIL_WORDS };

struct peer {
  struct sockaddr_storage address;
  socklen_t length;
};

/* One UDP message under construction: up to 64 datagrams of one size to one peer. */
enum { MESSAGE_VECTORS = 256, MESSAGES = 32, HEADER_POOL = 128 * 1024 };
struct message {
  struct iovec vectors[MESSAGE_VECTORS];
  unsigned vector_count, datagrams, bytes, segment_bytes;
  int peer, sender, tos;
  bool closed; /* its last datagram was shorter: nothing may follow */
};

/* What coalescing knows of a packet. */
struct candidate {
  uint8_t *ip;
  unsigned length, l4, l4_header, payload;
  int port;
  uint8_t protocol;
  bool v6, partial; /* partial: its checksum is left for whoever puts it on a wire */
};

/* A TCP or UDP super-packet being put together for one TUN: at most 128 packets (UDP_MAX_SEGMENTS). */
enum { AGGREGATES = 16, AGGREGATE_VECTORS = 128 };
struct aggregate {
  struct candidate first; /* its headers become those of the whole */
  unsigned count, payload, vector_count; /* count 0: flushed */
  uint32_t next_seq;
  uint16_t first_id;
  bool closed;
  struct iovec vectors[AGGREGATE_VECTORS];
};

/* What one message from the underlay socket is received into, beside its slot. */
struct inbox {
  struct iovec vector;
  struct sockaddr_in6 from; /* or a sockaddr_in */
  union {
    char bytes[2 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
};

struct dataplane {
  int epoll;
  uint8_t *arena;
  int32_t *rx, *tx, *failures;
  unsigned slots, tx_capacity;
  int ports[MAX_PORTS]; /* descriptor, or -1 */
  bool uso[MAX_PORTS];  /* whether the device takes UDP super-packets */
  struct inbox *inboxes;
  struct mmsghdr *incoming;
  unsigned underlay_messages; /* how many the next recvmmsg asks for */
  uint64_t linger_pause_ns, no_linger_until_ns;
  int senders[MAX_SENDERS];
  unsigned sender_count;
  struct peer *peers;
  struct message *messages;
  unsigned message_count;
  uint8_t *headers; /* headers of the segments of this batch */
  unsigned headers_used;
  struct aggregate aggregates[AGGREGATES];
  unsigned aggregate_count;
};

/* checksum.c: ones' complement sums (RFC 1071), kept as 64 bits until folded */
uint64_t sum_bytes(const uint8_t *bytes, size_t length, uint64_t sum);
uint16_t fold(uint64_t sum);
/* The pseudo-header's sum for the IP packet at `ip`, its transport part `length` bytes long. */
uint64_t sum_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t length);

/* receive.c: from TUNs and peers */
void receive_prepare(struct dataplane *plane);
/* Descriptors filled; 0 after the timeout, a signal, or a ring of the event; -1 and errno where waiting fails. */
int receive_batch(struct dataplane *plane, int timeout_ms);
/* transmit.c: towards peers */
void message_add(struct dataplane *plane, const int32_t *descriptor);
void message_vector(struct message *message, void *bytes, size_t length);
struct message *message_open(struct dataplane *plane, const int32_t *descriptor);
void messages_flush(struct dataplane *plane);
/* segment.c: a super-packet into one message, or several */
void segment(struct dataplane *plane, const int32_t *descriptor);
/* coalesce.c: towards TUNs */
void coalesce(struct dataplane *plane, const int32_t *descriptor);
void aggregates_flush(struct dataplane *plane);

static inline uint16_t load16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t load32(const uint8_t *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }
static inline void store16(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 8); at[1] = (uint8_t)value; }
static inline void store32(uint8_t *at, uint32_t value) { store16(at, value >> 16); store16(at + 2, value); }
