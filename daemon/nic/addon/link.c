/*
 * Frames of a link, for what polderd says and answers there itself (ARP, neighbour discovery): packet sockets, and word to
 * JavaScript's event loop when something came. packet(7)
 */
#define _GNU_SOURCE
#include "addon.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

/* Of IPv6 only neighbour solicitations (RFC 4861, 4.3): others would be a copy of everything that comes over the link. */
static struct sock_filter solicitations[] = {
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 6), /* next header */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 40), /* type */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 135, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 256),
    BPF_STMT(BPF_RET | BPF_K, 0),
};

/* openLink(index, etherType) -> fd: sends whole frames on that interface, receives those of that type */
napi_value open_link(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t index, type;
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &index) || !int_argument(env, argv[1], &type))
    return NULL;
  /* Of no protocol until it is bound: nothing comes before the filter is there. */
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "open a packet socket");
  struct sock_fprog filter = {.len = sizeof solicitations / sizeof *solicitations, .filter = solicitations};
  struct sockaddr_ll local = {
      .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)type), .sll_ifindex = index};
  if ((type != ETH_P_IPV6 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0) &&
      bind(fd, (struct sockaddr *)&local, sizeof local) == 0)
    return int_result(env, fd);
  int error = errno;
  close(fd);
  return throw_errno(env, error, "bind a packet socket");
}

/* joinGroup(fd, index, mac, joins): frames to that group address come in, or do not any more */
napi_value join_group(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  int32_t fd, index, joins;
  uint8_t *mac;
  size_t length;
  if (!arguments(env, info, 4, argv) || !int_argument(env, argv[0], &fd) || !int_argument(env, argv[1], &index) ||
      !bytes_argument(env, argv[2], &mac, &length) || !int_argument(env, argv[3], &joins))
    return NULL;
  struct packet_mreq request = {.mr_ifindex = index, .mr_type = PACKET_MR_MULTICAST, .mr_alen = ETH_ALEN};
  if (length != ETH_ALEN) return throw_errno(env, EINVAL, "join a group of the link");
  memcpy(request.mr_address, mac, ETH_ALEN);
  int option = joins ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP;
  if (setsockopt(fd, SOL_PACKET, option, &request, sizeof request) == 0) return NULL;
  return throw_errno(env, errno, "join a group of the link");
}

struct watch {
  uv_poll_t poll;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
};

static void readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct watch *watch = poll->data;
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_value callback, receiver, error;
  bool failed = false;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &receiver);
  napi_make_callback(env, watch->context, receiver, callback, 0, NULL, NULL);
  napi_is_exception_pending(env, &failed);
  if (failed && napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  napi_close_handle_scope(env, scope);
}

/* watchReadable(fd, callback) -> handle: calls whenever there is something to read, or an error to find */
napi_value watch_readable(napi_env env, napi_callback_info info) {
  napi_value argv[2], name, result;
  int32_t fd;
  uv_loop_t *loop;
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  /* libuv ends the process over a descriptor that is none. */
  if (fcntl(fd, F_GETFD) < 0) return throw_errno(env, errno, "watch a descriptor");
  struct watch *watch = calloc(1, sizeof *watch);
  if (!watch) return throw_errno(env, ENOMEM, "watch a descriptor");
  napi_get_uv_event_loop(env, &loop);
  int error = uv_poll_init(loop, &watch->poll, fd);
  if (error) {
    free(watch);
    return throw_errno(env, -error, "watch a descriptor");
  }
  watch->env = env;
  watch->poll.data = watch;
  napi_create_string_utf8(env, "polder:readable", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &watch->context);
  napi_create_reference(env, argv[1], 1, &watch->callback);
  uv_unref((uv_handle_t *)&watch->poll);
  uv_poll_start(&watch->poll, UV_READABLE, readable);
  napi_create_external(env, watch, NULL, NULL, &result);
  return result;
}

static void closed(uv_handle_t *handle) {
  free(handle->data);
}

/* unwatch(handle): once, and before the descriptor is closed */
napi_value unwatch(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  void *found;
  if (!arguments(env, info, 1, argv)) return NULL;
  if (napi_get_value_external(env, argv[0], &found) != napi_ok) return throw_errno(env, EINVAL, "unwatch a descriptor");
  struct watch *watch = found;
  uv_poll_stop(&watch->poll);
  napi_delete_reference(env, watch->callback);
  napi_async_destroy(env, watch->context);
  uv_close((uv_handle_t *)&watch->poll, closed);
  return NULL;
}
