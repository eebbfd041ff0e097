/*
 * Segmentation: a TCP or UDP super-packet from a pod becomes datagrams of one segment each, sent as one UDP_SEGMENT
 * message. Only headers are copied; payload is gathered from the slot it was read into.
 *
 * FIN and PSH stand on the last segment only, CWR on the first only, IPv4 ids count up (RFC 9293; Linux does the same).
 */
#include "dataplane.h"
#include <string.h>

enum { FLAG_FIN = 0x01, FLAG_PSH = 0x08, FLAG_CWR = 0x80, MAX_SEGMENTS = 64, MAX_HEADER = 160, MAX_BYTES = 65000 };

struct super {
  uint8_t *ip;
  unsigned l4, header, payload, gso_size;
  bool v6, tcp;
  uint64_t pseudo; /* addresses and protocol, without the length */
};

/* Writes segment number `index` of the super-packet: its headers to `out` (an Ethernet and VXLAN header before them). */
static void write_headers(const struct super *whole, uint8_t *out, unsigned index, unsigned size, const uint8_t *data) {
  memcpy(out, whole->ip - ENCAP_BYTES, ENCAP_BYTES + whole->header);
  uint8_t *ip = out + ENCAP_BYTES, *l4 = ip + whole->l4;
  unsigned l4_length = whole->header - whole->l4 + size;
  bool last = index * whole->gso_size + size == whole->payload;
  if (whole->v6) store16(ip + 4, whole->l4 - 40 + l4_length);
  else {
    store16(ip + 2, whole->l4 + l4_length);
    store16(ip + 4, load16(ip + 4) + index);
    store16(ip + 10, 0);
    store16(ip + 10, (uint16_t)~fold(sum_bytes(ip, whole->l4, 0)));
  }
  uint8_t *field = l4 + (whole->tcp ? 16 : 6);
  if (whole->tcp) {
    store32(l4 + 4, load32(l4 + 4) + index * whole->gso_size);
    if (!last) l4[13] &= (uint8_t) ~(FLAG_FIN | FLAG_PSH);
    if (index) l4[13] &= (uint8_t)~FLAG_CWR;
  } else store16(l4 + 4, l4_length);
  store16(field, 0);
  uint64_t sum = whole->pseudo + htonl(l4_length);
  /* The header's length is even, so the payload's sum needs no byte swap (RFC 1071, 2(A)). */
  sum = sum_bytes(data, size, sum_bytes(l4, whole->header - whole->l4, sum));
  uint16_t checksum = (uint16_t)~fold(sum);
  store16(field, checksum || whole->tcp ? checksum : 0xffff);
}

/* False where the header fields and the offload state contradict each other: nothing of it may be sent. */
static bool read_super(struct super *whole, uint8_t *ip, const int32_t *descriptor) {
  unsigned length = (unsigned)descriptor[TX_LENGTH], type = (unsigned)descriptor[TX_FLAGS] >> 8 & 0x7f;
  whole->ip = ip;
  whole->l4 = descriptor[TX_L4] & 0xffff;
  whole->v6 = ip[0] >> 4 == 6;
  whole->tcp = type != VIRTIO_NET_HDR_GSO_UDP_L4;
  whole->gso_size = (unsigned)descriptor[TX_GSO_SIZE];
  if (whole->l4 < 20 || whole->l4 + (whole->tcp ? 20 : 8) > length || whole->gso_size == 0) return false;
  if ((unsigned)descriptor[TX_L4] >> 16 != (whole->tcp ? IPPROTO_TCP : IPPROTO_UDP)) return false;
  whole->header = whole->l4 + (whole->tcp ? (unsigned)(ip[whole->l4 + 12] >> 4) * 4 : 8);
  if (whole->header > MAX_HEADER || whole->header >= length) return false;
  whole->payload = length - whole->header;
  whole->pseudo = sum_pseudo(ip, whole->tcp ? IPPROTO_TCP : IPPROTO_UDP, 0);
  return ENCAP_BYTES + whole->header + whole->gso_size <= MAX_BYTES;
}

void segment(struct dataplane *plane, const int32_t *descriptor) {
  struct super whole;
  if (!read_super(&whole, plane->arena + descriptor[TX_OFFSET], descriptor)) {
    plane->failures[FAIL_MALFORMED]++;
    return;
  }
  unsigned header = ENCAP_BYTES + whole.header, datagram = header + whole.gso_size;
  struct message *message = NULL;
  for (unsigned index = 0, done = 0; done < whole.payload; index++) {
    if (plane->headers_used + header > HEADER_POOL) {
      messages_flush(plane);
      message = NULL;
    }
    if (!message || message->datagrams == MAX_SEGMENTS || message->bytes + datagram > MAX_BYTES) {
      message = message_open(plane, descriptor);
      message->segment_bytes = datagram;
    }
    unsigned size = whole.payload - done < whole.gso_size ? whole.payload - done : whole.gso_size;
    uint8_t *data = whole.ip + whole.header + done, *out = plane->headers + plane->headers_used;
    write_headers(&whole, out, index, size, data);
    plane->headers_used += header;
    message_vector(message, out, header);
    message_vector(message, data, size);
    message->datagrams++;
    done += size;
    message->closed = true;
  }
}
