/*
 * Coalescing: consecutive packets of one flow, received one by one, are written to a TUN as one super-packet: one pass
 * through the pod's stack instead of forty. Several flows are kept open side by side, for one batch only.
 *
 * Two packets join where their headers say the same but for what counts up: addresses, ports, TTL, TOS or traffic
 * class and flow label, TCP flags (but PSH), acknowledgement, window and options (TCP), one size (the last may be
 * shorter), and where both checksums were right, or both are left to the device (packets from a pod of this node).
 * Everything else is written as it came, after what came before it in its flow.
 */
#include "dataplane.h"
#include <string.h>
#include <unistd.h>

enum { FLAG_PSH = 0x08, FLAG_ACK = 0x10, FLAG_ECE = 0x40, MAX_SUPER = 65000, TCP_CHECKSUM = 16, UDP_CHECKSUM = 6 };

static unsigned checksum_offset(uint8_t protocol) { return protocol == IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM; }

/* The vnet header goes right before the packet: what stood there, headroom or an opened envelope, is used up. */
static uint8_t *write_vnet(const struct virtio_net_hdr *vnet, uint8_t *ip) {
  memcpy(ip - VNET_BYTES, vnet, VNET_BYTES);
  return ip - VNET_BYTES;
}

static void deliver(struct dataplane *plane, int port, const struct virtio_net_hdr *vnet, uint8_t *ip, unsigned length) {
  uint8_t *start = write_vnet(vnet, ip);
  if (plane->ports[port] < 0 || write(plane->ports[port], start, VNET_BYTES + length) < 0) plane->failures[FAIL_DEVICE]++;
}

/* The first packet's headers become those of the whole: lengths and a partial checksum. */
static void close_headers(const struct candidate *first, unsigned total) {
  unsigned l4_length = total - first->l4;
  uint8_t *ip = first->ip;
  if (first->v6) store16(ip + 4, l4_length);
  else {
    store16(ip + 2, total);
    store16(ip + 10, 0);
    store16(ip + 10, (uint16_t)~fold(sum_bytes(ip, first->l4, 0)));
  }
  if (first->protocol == IPPROTO_UDP) store16(ip + first->l4 + 4, l4_length);
  store16(ip + first->l4 + checksum_offset(first->protocol), fold(sum_pseudo(ip, first->protocol, l4_length)));
}

static void aggregate_flush(struct dataplane *plane, struct aggregate *a) {
  const struct candidate *first = &a->first;
  struct virtio_net_hdr vnet = {0};
  unsigned count = a->count;
  a->count = 0;
  if (count == 0) return;
  if (count > 1 || first->partial) {
    vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    vnet.csum_start = (uint16_t)first->l4;
    vnet.csum_offset = (uint16_t)checksum_offset(first->protocol);
  }
  if (count == 1) {
    deliver(plane, first->port, &vnet, first->ip, first->length);
    return;
  }
  close_headers(first, first->l4 + first->l4_header + a->payload);
  bool tcp = first->protocol == IPPROTO_TCP;
  vnet.gso_type = tcp ? (first->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4) : VIRTIO_NET_HDR_GSO_UDP_L4;
  vnet.gso_size = (uint16_t)first->payload;
  vnet.hdr_len = (uint16_t)(first->l4 + first->l4_header);
  a->vectors[0] = (struct iovec){write_vnet(&vnet, first->ip), VNET_BYTES + first->length};
  if (plane->ports[first->port] < 0 || writev(plane->ports[first->port], a->vectors, (int)a->vector_count) < 0)
    plane->failures[FAIL_DEVICE] += (int)count;
}

void aggregates_flush(struct dataplane *plane) {
  for (unsigned i = 0; i < plane->aggregate_count; i++) aggregate_flush(plane, &plane->aggregates[i]);
  plane->aggregate_count = 0;
}

static bool checksum_right(const struct candidate *c) {
  unsigned length = c->length - c->l4;
  return fold(sum_bytes(c->ip + c->l4, length, sum_pseudo(c->ip, c->protocol, length))) == 0xffff;
}

/* Whether this packet may be part of any aggregate; fills in what one needs to know of it. */
static bool read_candidate(struct candidate *c, const struct dataplane *plane, const int32_t *descriptor) {
  uint8_t *ip = c->ip = plane->arena + descriptor[TX_OFFSET];
  unsigned length = c->length = (unsigned)descriptor[TX_LENGTH], l4 = c->l4 = descriptor[TX_L4] & 0xffff;
  c->port = descriptor[TX_PORT];
  c->protocol = (uint8_t)((unsigned)descriptor[TX_L4] >> 16);
  c->v6 = ip[0] >> 4 == 6;
  c->partial = descriptor[TX_FLAGS] == CSUM_PARTIAL;
  if (l4 != (c->v6 ? 40 : 20)) return false; /* IPv4 options and IPv6 extension headers stay as they came */
  if (descriptor[TX_FLAGS] >> 8) return false;
  if (c->partial && (unsigned)descriptor[TX_CSUM] != (l4 | checksum_offset(c->protocol) << 16)) return false;
  const uint8_t *header = ip + l4;
  if (c->protocol == IPPROTO_TCP) {
    if (length < l4 + 20) return false;
    c->l4_header = (unsigned)(header[12] >> 4) * 4;
    if (c->l4_header < 20 || (header[13] & ~(FLAG_PSH | FLAG_ECE)) != FLAG_ACK) return false;
  } else {
    if (c->protocol != IPPROTO_UDP || !plane->uso[c->port] || length < l4 + 8) return false;
    c->l4_header = 8;
    if (load16(header + 4) != length - l4 || (load16(header + 6) == 0 && !c->partial)) return false;
  }
  if (length <= l4 + c->l4_header) return false;
  c->payload = length - l4 - c->l4_header;
  return true;
}

/* Whether `b` must not overtake `a`. One without a transport header, a fragment say, may be of any flow of its port. */
static bool same_flow(const struct candidate *a, const struct candidate *b) {
  if (a->port != b->port) return false;
  if (b->l4 == 0) return true;
  if (a->protocol != b->protocol || a->v6 != b->v6) return false;
  if (memcmp(a->ip + a->l4, b->ip + b->l4, 4) != 0) return false;
  return a->v6 ? memcmp(a->ip + 8, b->ip + 8, 32) == 0 : memcmp(a->ip + 12, b->ip + 12, 8) == 0;
}

/* Options mostly are a timestamp: 12 bytes, compared without a call. */
static bool same_options(const uint8_t *p, const uint8_t *q, unsigned length) {
  return length == 12 ? memcmp(p, q, 8) == 0 && memcmp(p + 8, q + 8, 4) == 0 : memcmp(p, q, length) == 0;
}

static bool joins(const struct aggregate *a, const struct candidate *next) {
  const struct candidate *first = &a->first;
  const uint8_t *x = first->ip, *y = next->ip, *p = x + first->l4, *q = y + next->l4;
  if (a->closed || next->payload > first->payload || first->l4_header != next->l4_header) return false;
  if (first->l4 + first->l4_header + a->payload + next->payload > MAX_SUPER || a->vector_count == AGGREGATE_VECTORS)
    return false;
  if (first->v6) {
    if (memcmp(x, y, 4) != 0 || x[6] != y[6] || x[7] != y[7]) return false;
  } else {
    bool dont_fragment = x[6] & 0x40;
    if (x[1] != y[1] || memcmp(x + 6, y + 6, 4) != 0) return false;
    if (!dont_fragment && load16(y + 4) != (uint16_t)(a->first_id + a->count)) return false;
  }
  if (first->protocol == IPPROTO_TCP) {
    if (load32(q + 4) != a->next_seq || memcmp(p + 8, q + 8, 4) != 0 || p[12] != q[12] || memcmp(p + 14, q + 14, 2) != 0 ||
        (p[13] | FLAG_PSH) != (q[13] | FLAG_PSH) || !same_options(p + 20, q + 20, first->l4_header - 20))
      return false;
  }
  if (first->partial || next->partial) return first->partial && next->partial;
  /* Checksums are verified only where two packets meet: one that stays alone is verified by the pod's own stack. */
  return (a->count > 1 || checksum_right(first)) && checksum_right(next);
}

static void append(struct aggregate *a, const struct candidate *next) {
  const uint8_t *header = next->ip + next->l4;
  a->vectors[a->vector_count++] = (struct iovec){next->ip + next->l4 + next->l4_header, next->payload};
  a->count++;
  a->payload += next->payload;
  a->next_seq += next->payload;
  bool push = next->protocol == IPPROTO_TCP && header[13] & FLAG_PSH;
  if (push) a->first.ip[a->first.l4 + 13] |= FLAG_PSH;
  a->closed = push || next->payload < a->first.payload;
}

static void start(struct aggregate *a, const struct candidate *first) {
  const uint8_t *header = first->ip + first->l4;
  bool tcp = first->protocol == IPPROTO_TCP;
  a->first = *first;
  a->count = a->vector_count = 1;
  a->payload = first->payload;
  a->first_id = load16(first->ip + 4);
  a->next_seq = tcp ? load32(header + 4) + first->payload : 0;
  a->closed = tcp && header[13] & FLAG_PSH;
}

static void write_alone(struct dataplane *plane, const int32_t *descriptor, const struct candidate *c) {
  struct virtio_net_hdr vnet = {0};
  if ((descriptor[TX_FLAGS] & 0xff) == CSUM_PARTIAL) {
    vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    vnet.csum_start = (uint16_t)(descriptor[TX_CSUM] & 0xffff);
    vnet.csum_offset = (uint16_t)((unsigned)descriptor[TX_CSUM] >> 16);
  }
  vnet.gso_type = (uint8_t)(descriptor[TX_FLAGS] >> 8);
  vnet.gso_size = (uint16_t)descriptor[TX_GSO_SIZE];
  if (vnet.gso_type && c->l4) {
    bool udp = (vnet.gso_type & 0x7f) == VIRTIO_NET_HDR_GSO_UDP_L4;
    vnet.hdr_len = (uint16_t)(c->l4 + (udp || c->l4 + 13 > c->length ? 8 : (unsigned)(c->ip[c->l4 + 12] >> 4) * 4));
  }
  deliver(plane, c->port, &vnet, c->ip, c->length);
}

/* A packet to a TUN: joins an aggregate, starts one, or is written at once, after what came before in its flow. */
void coalesce(struct dataplane *plane, const int32_t *descriptor) {
  struct candidate next;
  bool may = read_candidate(&next, plane, descriptor);
  struct aggregate *slot = NULL;
  for (unsigned i = 0; i < plane->aggregate_count; i++) {
    struct aggregate *a = &plane->aggregates[i];
    if (a->count > 0 && same_flow(&a->first, &next)) {
      if (may && joins(a, &next)) {
        append(a, &next);
        return;
      }
      aggregate_flush(plane, a);
    }
    if (a->count == 0) slot = a;
  }
  if (!may) {
    write_alone(plane, descriptor, &next);
    return;
  }
  if (!slot && plane->aggregate_count == AGGREGATES) aggregates_flush(plane);
  if (!slot) slot = &plane->aggregates[plane->aggregate_count++];
  start(slot, &next);
}
