/*
 * Coalescing: consecutive segments of one flow, received one by one, are written to a TUN as one super-packet: one
 * pass through the pod's stack instead of forty. Several flows are kept open side by side, for one batch only.
 *
 * Two packets join where their headers say the same but for what counts up: addresses, ports, TTL, TOS or traffic
 * class and flow label, TCP flags (but PSH), acknowledgement, window and options (TCP), one size (the last may be
 * shorter), and where both checksums were right. Everything else is written as it came, after what came before it.
 */
#include "dataplane.h"
#include <string.h>

enum { FLAG_PSH = 0x08, FLAG_ACK = 0x10, FLAG_ECE = 0x40, MAX_SUPER = 65000 };

void deliver(struct dataplane *plane, int port, const struct virtio_net_hdr *vnet, struct iovec *vectors, unsigned count) {
  vectors[0] = (struct iovec){(void *)vnet, VNET_BYTES};
  if (plane->ports[port] < 0 || writev(plane->ports[port], vectors, (int)count) < 0) plane->failures[FAIL_DEVICE]++;
}

static uint8_t *checksum_field(const struct aggregate *a) { return a->first + a->l4 + (a->protocol == IPPROTO_TCP ? 16 : 6); }

/* The first packet's headers become those of the whole: lengths, a partial checksum, the last one's PSH. */
static void close_headers(struct aggregate *a, unsigned total) {
  unsigned l4_length = total - a->l4;
  if (a->v6) store16(a->first + 4, l4_length);
  else {
    store16(a->first + 2, total);
    store16(a->first + 10, 0);
    store16(a->first + 10, (uint16_t)~fold(sum_bytes(a->first, a->l4, 0)));
  }
  if (a->protocol == IPPROTO_UDP) store16(a->first + a->l4 + 4, l4_length);
  store16(checksum_field(a), fold(sum_pseudo(a->first, a->protocol, l4_length)));
  bool tcp = a->protocol == IPPROTO_TCP;
  a->vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  a->vnet.gso_type = tcp ? (a->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4) : VIRTIO_NET_HDR_GSO_UDP_L4;
  a->vnet.gso_size = (uint16_t)a->gso_size;
  a->vnet.hdr_len = (uint16_t)(a->l4 + a->l4_header);
  a->vnet.csum_start = (uint16_t)a->l4;
  a->vnet.csum_offset = tcp ? 16 : 6;
}

static void aggregate_flush(struct dataplane *plane, struct aggregate *a) {
  if (a->count == 0) return;
  memset(&a->vnet, 0, sizeof a->vnet);
  if (a->count > 1) {
    unsigned total = 0;
    for (unsigned i = 1; i < a->vector_count; i++) total += (unsigned)a->vectors[i].iov_len;
    close_headers(a, total);
  }
  deliver(plane, a->port, &a->vnet, a->vectors, a->vector_count);
  a->count = 0;
}

void aggregates_flush(struct dataplane *plane) {
  for (unsigned i = 0; i < plane->aggregate_count; i++) aggregate_flush(plane, &plane->aggregates[i]);
  plane->aggregate_count = 0;
}

static bool checksum_right(const uint8_t *ip, unsigned l4, unsigned length, uint8_t protocol) {
  return fold(sum_bytes(ip + l4, length - l4, sum_pseudo(ip, protocol, length - l4))) == 0xffff;
}

/* Whether this packet may be part of any aggregate; fills in what one needs to know of its first packet. */
static bool candidate(struct aggregate *a, uint8_t *ip, unsigned length, unsigned l4, uint8_t protocol) {
  a->first = ip, a->l4 = l4, a->protocol = protocol, a->v6 = ip[0] >> 4 == 6;
  if (l4 != (a->v6 ? 40 : 20)) return false; /* IPv4 options and IPv6 extension headers stay as they came */
  const uint8_t *header = ip + l4;
  if (protocol == IPPROTO_TCP) {
    if (length < l4 + 20) return false;
    a->l4_header = (unsigned)(header[12] >> 4) * 4;
    if (a->l4_header < 20 || (header[13] & ~(FLAG_PSH | FLAG_ECE)) != FLAG_ACK) return false;
  } else {
    if (length < l4 + 8) return false;
    a->l4_header = 8;
    if (load16(header + 6) == 0 || load16(header + 4) != length - l4) return false;
  }
  if (length <= l4 + a->l4_header) return false;
  a->payload = length - l4 - a->l4_header;
  return true;
}

static bool same_flow(const struct aggregate *a, const struct aggregate *b) {
  if (a->count == 0 || a->port != b->port || a->protocol != b->protocol || a->v6 != b->v6) return false;
  bool addresses = a->v6 ? memcmp(a->first + 8, b->first + 8, 32) == 0 : memcmp(a->first + 12, b->first + 12, 8) == 0;
  return addresses && memcmp(a->first + a->l4, b->first + b->l4, 4) == 0;
}

static bool joins(const struct aggregate *a, const struct aggregate *next) {
  const uint8_t *x = a->first, *y = next->first, *p = x + a->l4, *q = y + next->l4;
  if (a->closed || next->payload > a->gso_size || a->l4_header != next->l4_header) return false;
  unsigned total = a->l4 + a->l4_header + (a->count + 1) * a->gso_size;
  if (total > MAX_SUPER || a->vector_count == AGGREGATE_VECTORS) return false;
  if (a->v6) {
    if (memcmp(x, y, 4) != 0 || x[6] != y[6] || x[7] != y[7]) return false;
  } else {
    bool dont_fragment = x[6] & 0x40;
    if (x[1] != y[1] || memcmp(x + 6, y + 6, 4) != 0) return false;
    if (!dont_fragment && load16(y + 4) != (uint16_t)(a->first_id + a->count)) return false;
  }
  if (a->protocol == IPPROTO_UDP) return true;
  return load32(q + 4) == a->next_seq && memcmp(p + 8, q + 8, 5) == 0 && (p[13] | FLAG_PSH) == (q[13] | FLAG_PSH) &&
         memcmp(p + 14, q + 14, 2) == 0 && memcmp(p + 20, q + 20, a->l4_header - 20) == 0;
}

static void append(struct aggregate *a, const struct aggregate *next) {
  const uint8_t *header = next->first + next->l4;
  a->vectors[a->vector_count++] = (struct iovec){next->first + next->l4 + next->l4_header, next->payload};
  a->count++;
  a->next_seq += next->payload;
  bool push = a->protocol == IPPROTO_TCP && header[13] & FLAG_PSH;
  if (push) a->first[a->l4 + 13] |= FLAG_PSH;
  a->closed = push || next->payload < a->gso_size;
}

static void start(struct aggregate *a, const struct aggregate *next, unsigned length) {
  *a = (struct aggregate){.port = next->port, .first = next->first, .l4 = next->l4, .l4_header = next->l4_header,
                          .payload = next->payload, .gso_size = next->payload, .protocol = next->protocol, .v6 = next->v6};
  const uint8_t *header = a->first + a->l4;
  a->vectors[1] = (struct iovec){a->first, length};
  a->vector_count = 2, a->count = 1;
  a->first_id = load16(a->first + 4);
  if (a->protocol == IPPROTO_TCP) {
    a->next_seq = load32(header + 4) + a->payload;
    a->closed = header[13] & FLAG_PSH;
  }
}

static void write_alone(struct dataplane *plane, const int32_t *descriptor, uint8_t *ip, unsigned length) {
  unsigned l4 = descriptor[TX_L4] & 0xffff;
  struct virtio_net_hdr vnet = {0};
  if ((descriptor[TX_FLAGS] & 0xff) == CSUM_PARTIAL) {
    vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    vnet.csum_start = (uint16_t)(descriptor[TX_CSUM] & 0xffff);
    vnet.csum_offset = (uint16_t)((unsigned)descriptor[TX_CSUM] >> 16);
  }
  vnet.gso_type = (uint8_t)(descriptor[TX_FLAGS] >> 8);
  vnet.gso_size = (uint16_t)descriptor[TX_GSO_SIZE];
  if (vnet.gso_type && l4) {
    bool udp = (vnet.gso_type & 0x7f) == VIRTIO_NET_HDR_GSO_UDP_L4;
    vnet.hdr_len = (uint16_t)(l4 + (udp || l4 + 13 > length ? 8 : (unsigned)(ip[l4 + 12] >> 4) * 4));
  }
  struct iovec vectors[2] = {{0}, {ip, length}};
  deliver(plane, descriptor[TX_PORT], &vnet, vectors, 2);
}

/* A packet to a TUN: joins an aggregate, starts one, or is written at once. */
void coalesce(struct dataplane *plane, const int32_t *descriptor) {
  uint8_t *ip = plane->arena + descriptor[TX_OFFSET];
  unsigned length = (unsigned)descriptor[TX_LENGTH], l4 = descriptor[TX_L4] & 0xffff;
  uint8_t protocol = (uint8_t)((unsigned)descriptor[TX_L4] >> 16);
  struct aggregate next;
  next.port = descriptor[TX_PORT];
  bool may = descriptor[TX_FLAGS] == CSUM_FULL && l4 &&
             (protocol == IPPROTO_TCP || (protocol == IPPROTO_UDP && plane->uso[next.port]));
  if (may) may = candidate(&next, ip, length, l4, protocol);
  else if (plane->aggregate_count) aggregates_flush(plane);
  if (!may) {
    /* What came before in the same flow goes first. */
    for (unsigned i = 0; i < plane->aggregate_count && l4; i++)
      if (plane->aggregates[i].port == next.port) aggregate_flush(plane, &plane->aggregates[i]);
    write_alone(plane, descriptor, ip, length);
    return;
  }
  struct aggregate *slot = NULL;
  for (unsigned i = 0; i < plane->aggregate_count; i++) {
    struct aggregate *a = &plane->aggregates[i];
    if (a->count == 0) slot = slot ? slot : a;
    else if (same_flow(a, &next)) {
      unsigned first_length = (unsigned)a->vectors[1].iov_len;
      /* Checksums are verified only where two packets meet: one that stays alone is verified by the pod's own stack. */
      bool right = joins(a, &next) && (a->count > 1 || checksum_right(a->first, a->l4, first_length, protocol)) &&
                   checksum_right(ip, l4, length, protocol);
      if (right) {
        append(a, &next);
        return;
      }
      aggregate_flush(plane, a);
      slot = a;
      break;
    }
  }
  if (!slot && plane->aggregate_count == AGGREGATES) aggregates_flush(plane);
  if (!slot) slot = &plane->aggregates[plane->aggregate_count++];
  start(slot, &next, length);
}
