/*
 * Towards peers. A message is one sendmsg: one datagram, or up to 64 of one size (UDP_SEGMENT), to one peer from one
 * of the sending sockets. The socket is chosen by the flow's hash, so that the outer source port spreads flows over
 * the network's paths (RFC 7348, 5) and a flow keeps its order.
 */
#define _GNU_SOURCE
#include "dataplane.h"
#include <errno.h>
#include <linux/udp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DATAGRAMS = 64, MAX_MESSAGE_BYTES = 65000, SOCKET_PATIENCE_MS = 2 };

/* What the kernel knows of the path to a peer: the interface's MTU, or what a router on the way has told it. */
static int path_mtu(const struct peer *peer) {
  bool v4 = peer->address.ss_family == AF_INET;
  int fd = socket(peer->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), mtu = 0;
  socklen_t size = sizeof mtu;
  if (fd < 0) return 0;
  if (connect(fd, (const struct sockaddr *)&peer->address, peer->length) != 0 ||
      getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &size) != 0)
    mtu = 0;
  close(fd);
  return mtu;
}

static void count_failure(struct dataplane *plane, const struct message *message, int error, unsigned datagrams) {
  /* One report a batch is enough: what is still too big then reports itself in the next. */
  if (error == EMSGSIZE && plane->failures[FAIL_MTU_PEER] == 0) {
    plane->failures[FAIL_MTU_BYTES] = path_mtu(&plane->peers[message->peer]);
    plane->failures[FAIL_MTU_PEER] = message->peer + 1;
  }
  int at = error == EAGAIN || error == ENOBUFS || error == ENOMEM ? FAIL_SOCKET_FULL
           : error == EMSGSIZE                                    ? FAIL_TOO_BIG
                                                                  : FAIL_UNREACHABLE;
  plane->failures[at] += (int32_t)datagrams;
}

/* sendmsg that waits a moment for room in the socket: the pods' own queues fill up meanwhile, which slows TCP down. */
static int send_patiently(int fd, const struct msghdr *header) {
  for (int tries = 0;; tries++) {
    if (sendmsg(fd, header, MSG_NOSIGNAL) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || tries == 2) return errno;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    poll(&room, 1, SOCKET_PATIENCE_MS);
  }
}

static void add_control(struct msghdr *header, int level, int type, const void *value, size_t size) {
  struct cmsghdr *c = (struct cmsghdr *)((char *)header->msg_control + header->msg_controllen);
  c->cmsg_level = level, c->cmsg_type = type, c->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(c), value, size);
  header->msg_controllen += CMSG_SPACE(size);
}

/* Sends the vectors to the message's peer, cut into datagrams of `segment` bytes where that is not 0. Returns errno. */
static int send_vectors(struct dataplane *plane, const struct message *message, struct iovec *vectors, size_t count,
                        uint16_t segment) {
  struct peer *peer = &plane->peers[message->peer];
  union {
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
  } control;
  struct msghdr header = {.msg_name = &peer->address, .msg_namelen = peer->length, .msg_iov = vectors, .msg_iovlen = count,
                          .msg_control = &control};
  bool v4 = peer->address.ss_family == AF_INET;
  if (segment) add_control(&header, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
  if (message->tos)
    add_control(&header, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &message->tos, sizeof message->tos);
  if (header.msg_controllen == 0) header.msg_control = NULL;
  return send_patiently(plane->senders[message->sender], &header);
}

/* Where the kernel or the path refuses the batch as a whole, each datagram is sent and judged alone. */
static void send_each(struct dataplane *plane, struct message *message) {
  unsigned vector = 0, skip = 0;
  for (unsigned left = message->bytes; left > 0;) {
    unsigned want = left < message->segment_bytes ? left : message->segment_bytes;
    struct iovec vectors[8];
    unsigned count = 0;
    left -= want;
    while (want > 0 && count < 8) {
      struct iovec from = message->vectors[vector];
      unsigned take = (unsigned)from.iov_len - skip < want ? (unsigned)from.iov_len - skip : want;
      vectors[count++] = (struct iovec){(uint8_t *)from.iov_base + skip, take};
      want -= take, skip += take;
      if (skip == from.iov_len) vector++, skip = 0;
    }
    int error = send_vectors(plane, message, vectors, count, 0);
    if (error) count_failure(plane, message, error, 1);
  }
}

static void send_message_whole(struct dataplane *plane, struct message *message) {
  uint16_t segment = message->datagrams > 1 ? (uint16_t)message->segment_bytes : 0;
  int error = send_vectors(plane, message, message->vectors, message->vector_count, segment);
  if (!error) return;
  /* EIO, EINVAL: no UDP_SEGMENT on this device (before Linux 6.10: without checksum offload); EMSGSIZE: one is too big. */
  if (segment && (error == EIO || error == EINVAL || error == EMSGSIZE)) send_each(plane, message);
  else count_failure(plane, message, error, message->datagrams);
}

void messages_flush(struct dataplane *plane) {
  for (unsigned i = 0; i < plane->message_count; i++) send_message_whole(plane, &plane->messages[i]);
  plane->message_count = plane->headers_used = 0;
}

static int sender_of(const struct dataplane *plane, const int32_t *descriptor) {
  return (int)((uint32_t)descriptor[TX_HASH] % plane->sender_count);
}

struct message *message_open(struct dataplane *plane, const int32_t *descriptor) {
  if (plane->message_count == MESSAGES) messages_flush(plane);
  struct message *message = &plane->messages[plane->message_count++];
  message->vector_count = message->datagrams = message->bytes = message->segment_bytes = 0;
  message->peer = descriptor[TX_PEER];
  message->sender = sender_of(plane, descriptor);
  message->tos = descriptor[TX_TOS];
  message->closed = false;
  return message;
}

void message_vector(struct message *message, void *bytes, size_t length) {
  message->vectors[message->vector_count++] = (struct iovec){bytes, length};
  message->bytes += (unsigned)length;
}

/* The newest message to this peer by this socket, if a datagram of this size may still join it. */
static struct message *joinable(struct dataplane *plane, const int32_t *descriptor, unsigned length) {
  int sender = sender_of(plane, descriptor);
  for (unsigned i = plane->message_count; i-- > 0;) {
    struct message *message = &plane->messages[i];
    if (message->peer != descriptor[TX_PEER] || message->sender != sender) continue;
    bool fits = !message->closed && message->tos == descriptor[TX_TOS] && length <= message->segment_bytes && message->datagrams < MAX_DATAGRAMS &&
                message->bytes + length <= MAX_MESSAGE_BYTES && message->vector_count < MESSAGE_VECTORS;
    return fits ? message : NULL;
  }
  return NULL;
}

/* Finishes a partial checksum: the field holds the uncomplemented pseudo-header sum. */
static void finish_checksum(uint8_t *ip, unsigned length, unsigned start, unsigned offset) {
  uint8_t *field = ip + start + offset;
  uint16_t sum = (uint16_t)~fold(sum_bytes(ip + start, length - start, 0));
  store16(field, sum ? sum : 0xffff);
}

void message_add(struct dataplane *plane, const int32_t *descriptor) {
  uint8_t *ip = plane->arena + descriptor[TX_OFFSET];
  unsigned length = (unsigned)descriptor[TX_LENGTH], datagram = length + ENCAP_BYTES;
  if (descriptor[TX_FLAGS] >> 8) {
    segment(plane, descriptor);
    return;
  }
  if ((descriptor[TX_FLAGS] & 0xff) == CSUM_PARTIAL) {
    unsigned start = descriptor[TX_CSUM] & 0xffff, offset = (unsigned)descriptor[TX_CSUM] >> 16;
    if (start + offset + 2 > length) {
      plane->failures[FAIL_MALFORMED]++;
      return;
    }
    finish_checksum(ip, length, start, offset);
  }
  struct message *message = joinable(plane, descriptor, datagram);
  if (!message) message = message_open(plane, descriptor);
  if (message->datagrams == 0) message->segment_bytes = datagram;
  message_vector(message, ip - ENCAP_BYTES, datagram);
  message->datagrams++;
  message->closed = datagram < message->segment_bytes;
}
