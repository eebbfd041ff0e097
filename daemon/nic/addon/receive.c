/*
 * The first half of a batch: waits until something can be read, and fills slots and receive descriptors.
 *
 * A batch is large where packets are small and small where they are large: up to 64 of a port, but no more once it has
 * BATCH_BYTES, which are still in the processor's cache when they are sent on. Of the underlay socket nobody knows what
 * the next message will be, a datagram or a train of 64 KB: it is judged by the ones before.
 */
#define _GNU_SOURCE
#include "dataplane.h"
#include <errno.h>
#include <linux/udp.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_BYTES = 256 * 1024, MIN_MESSAGES = 4, MAX_EVENTS = 64 };
enum { NS_PER_S = 1000000000, LINGER_NS = 60000, OTHERS_NS = 100000, MIN_PAUSE_NS = 4000000, MAX_PAUSE_NS = NS_PER_S };

/* The headers of recvmmsg, one for each slot; the kernel changes three fields, which are put back after each call. */
void receive_prepare(struct dataplane *plane) {
  for (unsigned i = 0; i < plane->slots; i++) {
    struct inbox *inbox = &plane->inboxes[i];
    /* The datagram starts where its inner IP packet comes to lie 16-aligned. */
    inbox->vector = (struct iovec){plane->arena + (size_t)i * SLOT_BYTES + SLOT_HEADROOM - ENCAP_BYTES, 65535};
    plane->incoming[i].msg_hdr = (struct msghdr){.msg_name = &inbox->from, .msg_namelen = sizeof inbox->from,
                                                 .msg_iov = &inbox->vector, .msg_iovlen = 1,
                                                 .msg_control = &inbox->control, .msg_controllen = sizeof inbox->control};
  }
  plane->underlay_messages = UNDERLAY_MESSAGES;
  plane->linger_pause_ns = MIN_PAUSE_NS;
}

/* Reads from one TUN until it is empty or the batch is full. Returns the descriptors filled. */
static unsigned receive_tun(struct dataplane *plane, int port, unsigned filled) {
  unsigned first = filled, bytes = 0;
  while (filled < plane->slots && filled - first < PORT_PACKETS && bytes < BATCH_BYTES) {
    uint8_t *packet = plane->arena + (size_t)filled * SLOT_BYTES + SLOT_HEADROOM;
    ssize_t length = read(plane->ports[port], packet - VNET_BYTES, VNET_BYTES + 65535);
    if (length <= VNET_BYTES) {
      /* The device is gone, with its namespace perhaps: it would wake us for ever. Main closes the descriptor in time. */
      if (length < 0 && errno != EAGAIN && errno != EINTR) epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->ports[port], NULL);
      break;
    }
    bytes += (unsigned)length;
    struct virtio_net_hdr vnet;
    memcpy(&vnet, packet - VNET_BYTES, VNET_BYTES);
    int32_t *descriptor = plane->rx + filled++ * RX_WORDS;
    descriptor[RX_PORT] = port;
    descriptor[RX_OFFSET] = (int32_t)(packet - plane->arena);
    descriptor[RX_LENGTH] = (int32_t)length - VNET_BYTES;
    descriptor[RX_SEGMENT] = 0;
    descriptor[RX_FLAGS] = (vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? CSUM_PARTIAL : CSUM_FULL) | vnet.gso_type << 8;
    descriptor[RX_GSO_SIZE] = vnet.gso_size;
    descriptor[RX_CSUM] = vnet.csum_start | vnet.csum_offset << 16;
  }
  return filled - first;
}

/* Where an underlay datagram came from: four words, IPv4 mapped into IPv6. */
static void source(int32_t *descriptor, const struct sockaddr_in6 *from) {
  if (from->sin6_family == AF_INET) {
    descriptor[RX_SRC_ADDR] = descriptor[RX_SRC_ADDR + 1] = 0;
    descriptor[RX_SRC_ADDR + 2] = 0xffff;
    descriptor[RX_SRC_ADDR + 3] = (int32_t)ntohl(((const struct sockaddr_in *)(const void *)from)->sin_addr.s_addr);
    return;
  }
  for (int w = 0; w < 4; w++) descriptor[RX_SRC_ADDR + w] = (int32_t)load32(from->sin6_addr.s6_addr + w * 4);
}

/* What the kernel says beside a message: bytes of each datagram of a train, the outer TOS. */
static void read_control(int32_t *descriptor, struct msghdr *header) {
  descriptor[RX_SEGMENT] = descriptor[RX_TOS] = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) memcpy(&descriptor[RX_SEGMENT], CMSG_DATA(c), 4);
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) descriptor[RX_TOS] = *CMSG_DATA(c);
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) memcpy(&descriptor[RX_TOS], CMSG_DATA(c), 4);
  }
}

/* One recvmmsg; a message may be a GRO train of datagrams of RX_SEGMENT bytes each, the last may be shorter. */
static unsigned receive_underlay(struct dataplane *plane, unsigned filled) {
  unsigned want = plane->slots - filled < plane->underlay_messages ? plane->slots - filled : plane->underlay_messages;
  int count = want ? recvmmsg(plane->ports[PORT_UNDERLAY], plane->incoming + filled, want, MSG_DONTWAIT, NULL) : 0;
  if (count <= 0) return 0;
  unsigned bytes = 0;
  for (unsigned i = filled; i < filled + (unsigned)count; i++) {
    struct inbox *inbox = &plane->inboxes[i];
    struct mmsghdr *message = &plane->incoming[i];
    int32_t *descriptor = plane->rx + i * RX_WORDS;
    descriptor[RX_PORT] = PORT_UNDERLAY;
    descriptor[RX_OFFSET] = (int32_t)((uint8_t *)inbox->vector.iov_base - plane->arena);
    descriptor[RX_LENGTH] = (int32_t)message->msg_len;
    descriptor[RX_FLAGS] = CSUM_FULL;
    descriptor[RX_GSO_SIZE] = descriptor[RX_CSUM] = 0;
    read_control(descriptor, &message->msg_hdr);
    source(descriptor, &inbox->from);
    bytes += message->msg_len;
    message->msg_hdr.msg_namelen = sizeof inbox->from;
    message->msg_hdr.msg_controllen = sizeof inbox->control;
    message->msg_hdr.msg_flags = 0;
  }
  unsigned next = BATCH_BYTES / (bytes / (unsigned)count + 1);
  plane->underlay_messages = next < MIN_MESSAGES ? MIN_MESSAGES : next > UNDERLAY_MESSAGES ? UNDERLAY_MESSAGES : next;
  return (unsigned)count;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/*
 * Looks again for a moment before it sleeps: to wake a processor that has gone idle takes longer than everything that
 * is done to a packet (request/response between nodes of virtual machines: 64 µs instead of 160). Only where nobody
 * else wants the processor: whoever else can run is let in at each turn, and where that takes its time, the moment is
 * given up, and all such moments for a while: twice as long each time, half as long each time that it was worth it.
 */
static int linger(struct dataplane *plane, struct epoll_event *events) {
  uint64_t before = now_ns();
  if (before < plane->no_linger_until_ns) return 0;
  for (uint64_t end = before + LINGER_NS; before < end;) {
    sched_yield();
    int ready = epoll_wait(plane->epoll, events, MAX_EVENTS, 0);
    uint64_t now = now_ns();
    if (now - before > OTHERS_NS) {
      if (plane->linger_pause_ns < MAX_PAUSE_NS) plane->linger_pause_ns *= 2;
      plane->no_linger_until_ns = now + plane->linger_pause_ns;
      return ready;
    }
    if (ready != 0) {
      if (plane->linger_pause_ns > MIN_PAUSE_NS) plane->linger_pause_ns /= 2;
      return ready;
    }
    before = now;
  }
  return 0;
}

static int wait_for_packets(struct dataplane *plane, struct epoll_event *events, int timeout_ms) {
  int ready = epoll_wait(plane->epoll, events, MAX_EVENTS, 0);
  if (ready == 0) ready = linger(plane, events);
  return ready == 0 ? epoll_wait(plane->epoll, events, MAX_EVENTS, timeout_ms) : ready;
}

int receive_batch(struct dataplane *plane, int timeout_ms) {
  struct epoll_event events[MAX_EVENTS];
  int ready = wait_for_packets(plane, events, timeout_ms);
  if (ready < 0) return errno == EINTR ? 0 : -1;
  unsigned filled = 0;
  for (int i = 0; i < ready; i++) {
    int port = (int)events[i].data.u32;
    eventfd_t rings;
    if (port == PORT_EVENT) eventfd_read(plane->ports[port], &rings);
    else if (port == PORT_UNDERLAY) filled += receive_underlay(plane, filled);
    else filled += receive_tun(plane, port, filled);
  }
  return (int)filled;
}
