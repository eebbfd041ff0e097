/*
 * What happens to a frame, in this order: partition, loss, the bounded queue before the link, corruption, the link's
 * rate, delay and jitter (which keep the order), reordering (the chosen frame is held back longer than the others), and
 * duplication (the copy comes right behind). Two kinds of damage:
 *
 *   corrupt  one bit anywhere behind the Ethernet header: some checksum on the way can see it
 *   garble   one bit in the payload of a UDP datagram, its checksum adjusted (RFC 1624): as if it had been damaged in
 *            the sender's memory, so that only whoever reads the payload can see it
 */
#include "direction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fault { FAULT_LOSS, FAULT_CORRUPT, FAULT_CORRUPT_BIT, FAULT_GARBLE, FAULT_GARBLE_BIT, FAULT_DUPLICATE,
             FAULT_REORDER, FAULT_JITTER, FAULTS };
enum { ETHERNET_BYTES = 14, IPV6_BYTES = 40, UDP_BYTES = 8, PROTOCOL_UDP = 17 };

/* splitmix64: a good hash of a counter. */
static uint64_t draw(const struct direction *d, enum fault fault) {
  uint64_t z = d->seed + (d->number * FAULTS + fault + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

/* In [0, 1). */
static double share(const struct direction *d, enum fault fault) {
  return (double)(draw(d, fault) >> 11) / (double)(1ull << 53);
}

static bool strikes(const struct direction *d, enum fault fault, double percent) {
  return share(d, fault) * 100 < percent;
}

/* Where the payload of an unfragmented UDP datagram begins; 0: it is none, or an empty one. */
static size_t udp_payload(const uint8_t *frame, size_t length) {
  size_t udp = 0;
  if (length < ETHERNET_BYTES + IPV6_BYTES + UDP_BYTES) return 0;
  const uint8_t *ip = frame + ETHERNET_BYTES;
  bool fragment = (ip[6] & 0x3f) != 0 || ip[7] != 0;
  if (frame[12] == 0x08 && frame[13] == 0x00 && ip[9] == PROTOCOL_UDP && !fragment) udp = (size_t)(ip[0] & 15) * 4;
  if (frame[12] == 0x86 && frame[13] == 0xdd && ip[6] == PROTOCOL_UDP) udp = IPV6_BYTES;
  size_t payload = ETHERNET_BYTES + udp + UDP_BYTES;
  return udp != 0 && payload < length ? payload : 0;
}

static unsigned word_at(const uint8_t *bytes, size_t at, size_t length) {
  return (unsigned)bytes[at] << 8 | (at + 1 < length ? bytes[at + 1] : 0u);
}

static bool garble(const struct direction *d, uint8_t *frame, size_t length) {
  size_t payload = udp_payload(frame, length);
  if (payload == 0) return false;
  uint64_t bit = draw(d, FAULT_GARBLE_BIT) % ((length - payload) * 8);
  size_t at = payload + bit / 8, word = payload + (bit / 16) * 2, checksum = payload - 2;
  unsigned before = word_at(frame, word, length), sum = word_at(frame, checksum, length);
  frame[at] ^= (uint8_t)(1u << bit % 8);
  if (sum == 0) return true;
  unsigned next = (~sum & 0xffff) + (~before & 0xffff) + word_at(frame, word, length);
  next = (next & 0xffff) + (next >> 16);
  next = ~((next & 0xffff) + (next >> 16)) & 0xffff;
  if (next == 0) next = 0xffff;
  frame[checksum] = (uint8_t)(next >> 8), frame[checksum + 1] = (uint8_t)next;
  return true;
}

static void corrupt(const struct direction *d, uint8_t *frame, size_t length) {
  uint64_t bit = draw(d, FAULT_CORRUPT_BIT) % ((length - ETHERNET_BYTES) * 8);
  frame[ETHERNET_BYTES + bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static bool precedes(const struct frame *a, const struct frame *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void push(struct direction *d, const uint8_t *bytes, size_t length, uint64_t due_ns) {
  if (d->waiting_count == d->waiting_room) {
    d->waiting_room = d->waiting_room ? d->waiting_room * 2 : 64;
    d->waiting = realloc(d->waiting, d->waiting_room * sizeof *d->waiting);
  }
  struct frame *frame = malloc(sizeof *frame + length);
  if (frame == NULL || d->waiting == NULL) {
    perror("relay");
    exit(1);
  }
  frame->due_ns = due_ns, frame->number = d->number, frame->length = length;
  memcpy(frame->bytes, bytes, length);
  size_t at = d->waiting_count++;
  for (; at > 0 && precedes(frame, d->waiting[(at - 1) / 2]); at = (at - 1) / 2)
    d->waiting[at] = d->waiting[(at - 1) / 2];
  d->waiting[at] = frame;
}

struct frame *first(const struct direction *d) {
  return d->waiting_count > 0 ? d->waiting[0] : NULL;
}

struct frame *pop(struct direction *d) {
  struct frame *top = d->waiting[0], *last = d->waiting[--d->waiting_count];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < d->waiting_count; at = child) {
    if (child + 1 < d->waiting_count && precedes(d->waiting[child + 1], d->waiting[child])) child++;
    if (!precedes(d->waiting[child], last)) break;
    d->waiting[at] = d->waiting[child];
  }
  d->waiting[at] = last;
  return top;
}

/* When the frame has left the link and crossed the distance. Those that are not reordered stay in order. */
static uint64_t due(struct direction *d, size_t length, uint64_t now_ns) {
  const struct settings *s = &d->settings;
  uint64_t left_ns = now_ns;
  if (s->rate > 0) {
    if (d->link_free_ns > left_ns) left_ns = d->link_free_ns;
    left_ns += (uint64_t)((double)length * 8000 / s->rate);
    d->link_free_ns = left_ns;
  }
  double jitter_ms = (2 * share(d, FAULT_JITTER) - 1) * s->jitter, distance_ms = s->delay + jitter_ms;
  uint64_t due_ns = left_ns + (uint64_t)(distance_ms > 0 ? distance_ms * NS_PER_MS : 0);
  if (due_ns < d->last_due_ns) due_ns = d->last_due_ns;
  if (strikes(d, FAULT_REORDER, s->reorder)) {
    d->counts.reordered++;
    return due_ns + (uint64_t)(s->hold * NS_PER_MS);
  }
  d->last_due_ns = due_ns;
  return due_ns;
}

void take(struct direction *d, const uint8_t *bytes, size_t length, uint64_t now_ns) {
  static uint8_t changed[1 << 16];
  const struct settings *s = &d->settings;
  d->number++;
  d->counts.received++;
  if (s->partition != 0) {
    d->counts.partitioned++;
  } else if (strikes(d, FAULT_LOSS, s->loss)) {
    d->counts.lost++;
  } else if (d->waiting_count >= (size_t)s->queue) {
    d->counts.overflowed++;
  } else {
    memcpy(changed, bytes, length);
    if (strikes(d, FAULT_CORRUPT, s->corrupt)) {
      corrupt(d, changed, length);
      d->counts.corrupted++;
    }
    if (strikes(d, FAULT_GARBLE, s->garble) && garble(d, changed, length)) d->counts.garbled++;
    uint64_t due_ns = due(d, length, now_ns);
    push(d, changed, length, due_ns);
    if (strikes(d, FAULT_DUPLICATE, s->duplicate)) {
      push(d, changed, length, due_ns);
      d->counts.duplicated++;
    }
  }
}
