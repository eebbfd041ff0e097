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
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void destroy(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  struct dataplane *plane = data;
  close(plane->epoll);
  free(plane->peers);
  free(plane->messages);
  free(plane->headers);
  free(plane->inboxes);
  free(plane->incoming);
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
  plane->inboxes = calloc(slots, sizeof *plane->inboxes);
  plane->incoming = calloc(slots, sizeof *plane->incoming);
  receive_prepare(plane);
  memcpy(plane->senders, senders, sender_count * 4);
  plane->sender_count = sender_count;
  for (int i = 0; i < MAX_PORTS; i++) plane->ports[i] = -1;
  plane->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (plane->epoll < 0) return throw_errno(env, errno, "epoll");
  napi_create_external(env, plane, destroy, NULL, &result);
  return result;
}

/* dataplaneSetSenders(plane, senders): other descriptors to send from, as many as before. They stay the caller's. */
napi_value dataplane_set_senders(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint8_t *senders;
  size_t bytes;
  if (!arguments(env, info, 2, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !bytes_argument(env, argv[1], &senders, &bytes)) return NULL;
  if (bytes != plane->sender_count * 4) return throw_errno(env, ERANGE, "set the senders");
  memcpy(plane->senders, senders, bytes);
  return NULL;
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

/* dataplaneReceive(plane, timeoutMs) -> descriptors filled; 0 after the timeout, a signal, or a ring of the event */
napi_value dataplane_receive(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t timeout;
  if (!arguments(env, info, 2, argv)) return NULL;
  struct dataplane *plane = plane_argument(env, argv[0]);
  if (!plane || !int_argument(env, argv[1], &timeout)) return NULL;
  int filled = receive_batch(plane, timeout);
  return filled < 0 ? throw_errno(env, errno, "epoll_wait") : int_result(env, filled);
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
