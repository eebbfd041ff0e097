/*
 * The worker's batches. `dataplaneReceive` waits until something can be read and fills slots and receive descriptors;
 * `dataplaneSend` takes the transmit descriptors that JavaScript wrote and sends everything before it returns, so that
 * no packet waits for later company. One call of each a batch: the boundary costs nothing per packet.
 */
#define _GNU_SOURCE
#include "addon.h"
#include "dataplane.h"
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void destroy(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  struct dataplane *plane = data;
  close(plane->epoll);
  free(plane->peers);
  free(plane->messages);
  free(plane->headers);
  free(plane);
}

static struct dataplane *plane_argument(napi_env env, napi_value value) {
  void *plane = NULL;
  if (napi_get_value_external(env, value, &plane) != napi_ok)
    napi_throw_type_error(env, "EINVAL", "an argument that must be a data plane is not");
  return plane;
}

/* dataplaneCreate(arena, rx, tx, failures, senders) -> data plane. The arrays must outlive it: the caller keeps them. */
napi_value dataplane_create(napi_env env, napi_callback_info info) {
  napi_value argv[5], result;
  uint8_t *arena, *rx, *tx, *failures, *senders;
  size_t arena_bytes, rx_bytes, tx_bytes, failure_bytes, sender_bytes;
  if (!arguments(env, info, 5, argv) || !bytes_argument(env, argv[0], &arena, &arena_bytes) ||
      !bytes_argument(env, argv[1], &rx, &rx_bytes) || !bytes_argument(env, argv[2], &tx, &tx_bytes) ||
      !bytes_argument(env, argv[3], &failures, &failure_bytes) || !bytes_argument(env, argv[4], &senders, &sender_bytes))
    return NULL;
  unsigned slots = (unsigned)(rx_bytes / 4 / RX_WORDS), sender_count = (unsigned)(sender_bytes / 4);
  if (slots < UNDERLAY_MESSAGES + PORT_PACKETS || arena_bytes < (size_t)slots * SLOT_BYTES || failure_bytes < FAIL_WORDS * 4 ||
      sender_count == 0 || sender_count > MAX_SENDERS)
    return throw_errno(env, EINVAL, "create the data plane");
  struct dataplane *plane = calloc(1, sizeof *plane);
  plane->arena = arena, plane->slots = slots;
  plane->rx = (int32_t *)rx, plane->tx = (int32_t *)tx, plane->failures = (int32_t *)failures;
  plane->tx_capacity = (unsigned)(tx_bytes / 4 / TX_WORDS);
  plane->peers = calloc(MAX_PEERS, sizeof *plane->peers);
  plane->messages = calloc(MESSAGES, sizeof *plane->messages);
  plane->headers = malloc(HEADER_POOL);
  memcpy(plane->senders, senders, sender_count * 4);
  plane->sender_count = sender_count;
  for (int i = 0; i < MAX_PORTS; i++) plane->ports[i] = -1;
  plane->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (plane->epoll < 0) return throw_errno(env, errno, "epoll");
  napi_create_external(env, plane, destroy, NULL, &result);
  return result;
}

/* dataplaneSetPort(plane, port, fd): fd -1 takes the port out. The descriptor stays the caller's. */
napi_value dataplane_set_port(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int32_t port, fd;
  if (!arguments(env, info, 3, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !int_argument(env, argv[1], &port) || !int_argument(env, argv[2], &fd)) return NULL;
  if (port < 0 || port >= MAX_PORTS) return throw_errno(env, ERANGE, "set a port of the data plane");
  if (plane->ports[port] >= 0) epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->ports[port], NULL);
  plane->ports[port] = fd;
  if (fd < 0) return NULL;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)port};
  if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    plane->ports[port] = -1;
    return throw_errno(env, errno, "watch a port of the data plane");
  }
  /* The device said at creation whether it takes UDP super-packets; asking again for the same set is harmless. */
  unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | 0x60;
  plane->uso[port] = port != PORT_UNDERLAY && port != PORT_EVENT && ioctl(fd, TUNSETOFFLOAD, offloads) == 0;
  return NULL;
}

/* dataplaneSetPeers(plane, words, count): 5 words a peer: address (IPv4 mapped into IPv6, network order), UDP port */
napi_value dataplane_set_peers(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  uint8_t *bytes;
  size_t length;
  int32_t count;
  if (!arguments(env, info, 3, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !bytes_argument(env, argv[1], &bytes, &length) || !int_argument(env, argv[2], &count)) return NULL;
  if (count < 0 || count > MAX_PEERS || length < (size_t)count * 20) return throw_errno(env, ERANGE, "set the peers");
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  for (int i = 0; i < count; i++) {
    struct peer *peer = &plane->peers[i];
    uint32_t words[5];
    memcpy(words, bytes + i * 20, 20);
    for (int w = 0; w < 4; w++) words[w] = htonl(words[w]);
    memset(peer, 0, sizeof *peer);
    if (memcmp(words, mapped, 12) == 0) {
      struct sockaddr_in *v4 = (struct sockaddr_in *)&peer->address;
      v4->sin_family = AF_INET, v4->sin_port = htons((uint16_t)words[4]), v4->sin_addr.s_addr = words[3];
      peer->length = sizeof *v4;
    } else {
      struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&peer->address;
      v6->sin6_family = AF_INET6, v6->sin6_port = htons((uint16_t)words[4]);
      memcpy(&v6->sin6_addr, words, 16);
      peer->length = sizeof *v6;
    }
  }
  return NULL;
}

/* Reads from one TUN until it is empty or the budget or the slots are spent. Returns the descriptors filled. */
static unsigned receive_tun(struct dataplane *plane, int port, unsigned filled) {
  unsigned first = filled;
  while (filled < plane->slots && filled - first < PORT_PACKETS) {
    uint8_t *packet = plane->arena + (size_t)filled * SLOT_BYTES + SLOT_HEADROOM;
    ssize_t length = read(plane->ports[port], packet - VNET_BYTES, VNET_BYTES + 65535);
    if (length <= VNET_BYTES) {
      /* The device is gone, with its namespace perhaps: it would wake us for ever. Main closes the descriptor in time. */
      if (length < 0 && errno != EAGAIN && errno != EINTR) epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->ports[port], NULL);
      break;
    }
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
static void source(int32_t *descriptor, const struct sockaddr_storage *from) {
  const struct sockaddr_in *v4 = (const void *)from;
  const struct sockaddr_in6 *v6 = (const void *)from;
  if (from->ss_family == AF_INET) {
    descriptor[RX_SRC_ADDR] = descriptor[RX_SRC_ADDR + 1] = 0;
    descriptor[RX_SRC_ADDR + 2] = 0xffff;
    descriptor[RX_SRC_ADDR + 3] = (int32_t)ntohl(v4->sin_addr.s_addr);
    return;
  }
  for (int w = 0; w < 4; w++) descriptor[RX_SRC_ADDR + w] = (int32_t)load32(v6->sin6_addr.s6_addr + w * 4);
}

/* One recvmmsg; a message may be a GRO train of datagrams of RX_SEGMENT bytes each, the last may be shorter. */
static unsigned receive_underlay(struct dataplane *plane, unsigned filled) {
  struct mmsghdr messages[UNDERLAY_MESSAGES];
  struct iovec vectors[UNDERLAY_MESSAGES];
  struct sockaddr_storage from[UNDERLAY_MESSAGES];
  union {
    char bytes[2 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control[UNDERLAY_MESSAGES];
  unsigned want = plane->slots - filled < UNDERLAY_MESSAGES ? plane->slots - filled : UNDERLAY_MESSAGES;
  for (unsigned i = 0; i < want; i++) {
    /* The datagram starts where its inner IP packet comes to lie 16-aligned. */
    vectors[i].iov_base = plane->arena + (size_t)(filled + i) * SLOT_BYTES + SLOT_HEADROOM - ENCAP_BYTES;
    vectors[i].iov_len = 65535;
    messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &vectors[i],
                                          .msg_iovlen = 1, .msg_control = &control[i], .msg_controllen = sizeof control[i]};
  }
  int count = want ? recvmmsg(plane->ports[PORT_UNDERLAY], messages, want, MSG_DONTWAIT, NULL) : 0;
  for (int i = 0; i < count; i++) {
    int32_t *descriptor = plane->rx + (filled + (unsigned)i) * RX_WORDS;
    descriptor[RX_PORT] = PORT_UNDERLAY;
    descriptor[RX_OFFSET] = (int32_t)((uint8_t *)vectors[i].iov_base - plane->arena);
    descriptor[RX_LENGTH] = (int32_t)messages[i].msg_len;
    descriptor[RX_SEGMENT] = descriptor[RX_TOS] = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr); c; c = CMSG_NXTHDR(&messages[i].msg_hdr, c)) {
      if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) memcpy(&descriptor[RX_SEGMENT], CMSG_DATA(c), 4);
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) descriptor[RX_TOS] = *CMSG_DATA(c);
      if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) memcpy(&descriptor[RX_TOS], CMSG_DATA(c), 4);
    }
    descriptor[RX_FLAGS] = CSUM_FULL;
    descriptor[RX_GSO_SIZE] = descriptor[RX_CSUM] = 0;
    source(descriptor, &from[i]);
  }
  return count < 0 ? 0 : (unsigned)count;
}

/* dataplaneReceive(plane, timeoutMs) -> descriptors filled; 0 after the timeout, a signal, or a ring of the event */
napi_value dataplane_receive(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t timeout;
  if (!arguments(env, info, 2, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !int_argument(env, argv[1], &timeout)) return NULL;
  struct epoll_event events[64];
  int ready = epoll_wait(plane->epoll, events, 64, timeout);
  if (ready < 0 && errno != EINTR) return throw_errno(env, errno, "epoll_wait");
  unsigned filled = 0;
  for (int i = 0; i < ready; i++) {
    int port = (int)events[i].data.u32;
    eventfd_t rings;
    if (port == PORT_EVENT) eventfd_read(plane->ports[port], &rings);
    else if (port == PORT_UNDERLAY) filled += receive_underlay(plane, filled);
    else filled += receive_tun(plane, port, filled);
  }
  return int_result(env, (int32_t)filled);
}

/* dataplaneSend(plane, count): sends the first `count` transmit descriptors; what fails is counted in `failures` */
napi_value dataplane_send(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t count;
  if (!arguments(env, info, 2, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !int_argument(env, argv[1], &count)) return NULL;
  if (count < 0 || (unsigned)count > plane->tx_capacity) return throw_errno(env, ERANGE, "send");
  for (int i = 0; i < count; i++) {
    const int32_t *descriptor = plane->tx + i * TX_WORDS;
    if (descriptor[TX_PORT] == PORT_UNDERLAY) message_add(plane, descriptor);
    else coalesce(plane, descriptor);
  }
  aggregates_flush(plane);
  messages_flush(plane);
  return NULL;
}
