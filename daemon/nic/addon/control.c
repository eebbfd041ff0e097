/*
 * What polderd's main thread asks of the machine and Node cannot give: TUN devices and netlink sockets inside other
 * namespaces, the underlay's UDP sockets, eventfd, file locks. Every descriptor is close-on-exec.
 *
 * setns(2) is per thread: a namespace is entered, the one descriptor opened, and the old namespace entered again, all
 * in one call, so that no other JavaScript ever runs inside. A descriptor keeps the namespace it was opened in.
 */
#define _GNU_SOURCE
#include "addon.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* Enters a network namespace; -1 as `netns` means: stay. Returns the way back, -1 for none, -2 on failure. */
static int enter(int netns) {
  if (netns < 0) return -1;
  int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (back < 0) return -2;
  if (setns(netns, CLONE_NEWNET) == 0) return back;
  int error = errno;
  close(back);
  errno = error;
  return -2;
}

/* A thread that cannot return to its own namespace must not go on: it would do everything else in the wrong one. */
static void leave(int back) {
  if (back < 0) return;
  int error = errno;
  if (setns(back, CLONE_NEWNET) != 0) {
    perror("polder: cannot return to the network namespace");
    _exit(70);
  }
  close(back);
  errno = error;
}

/* Creates or re-attaches. Super-packets and partial checksums from the first day: IFF_VNET_HDR is decided at creation. */
static int tun(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (ioctl(fd, TUNSETIFF, &request) == 0 &&
      (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) == 0 || ioctl(fd, TUNSETOFFLOAD, offloads) == 0) &&
      ioctl(fd, TUNSETPERSIST, 1) == 0)
    return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* openTun(netnsFd, name) -> fd */
napi_value open_tun(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t netns;
  char name[IFNAMSIZ];
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &netns) ||
      !text_argument(env, argv[1], name, sizeof name))
    return NULL;
  int back = enter(netns);
  if (back == -2) return throw_errno(env, errno, "enter the network namespace");
  int fd = tun(name);
  leave(back);
  return fd < 0 ? throw_errno(env, errno, "open the TUN device") : int_result(env, fd);
}

/* openNetlink(netnsFd, groups, protocol) -> fd */
napi_value open_netlink(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int32_t netns, groups, protocol;
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &netns) || !int_argument(env, argv[1], &groups) ||
      !int_argument(env, argv[2], &protocol))
    return NULL;
  int back = enter(netns);
  if (back == -2) return throw_errno(env, errno, "enter the network namespace");
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  leave(back);
  if (fd < 0) return throw_errno(env, errno, "open a netlink socket");
  struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = (unsigned)groups};
  struct timeval patience = {.tv_sec = 2};
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&local, sizeof local) == 0) return int_result(env, fd);
  int error = errno;
  close(fd);
  return throw_errno(env, error, "bind a netlink socket");
}

/* sendMessage(fd, bytes) -> sent */
napi_value send_message(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t fd;
  uint8_t *bytes;
  size_t length;
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &fd) || !bytes_argument(env, argv[1], &bytes, &length))
    return NULL;
  ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
  return sent < 0 ? throw_errno(env, errno, "send") : int_result(env, (int32_t)sent);
}

/* receiveMessage(fd, into) -> received; a message longer than `into` is cut (MSG_TRUNC tells its real length) */
napi_value receive_message(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int32_t fd;
  uint8_t *bytes;
  size_t length;
  if (!arguments(env, info, 2, argv) || !int_argument(env, argv[0], &fd) || !bytes_argument(env, argv[1], &bytes, &length))
    return NULL;
  ssize_t received;
  do received = recv(fd, bytes, length, MSG_TRUNC);
  while (received < 0 && errno == EINTR);
  return received < 0 ? throw_errno(env, errno, "receive") : int_result(env, (int32_t)received);
}

/*
 * takeNotices(fd) -> whether a socket that subscribed to notices had any; all that were there are gone then. Does not
 * wait. Those that the buffer had no room for (ENOBUFS) count; so does any other failure: who is told to look loses little.
 */
napi_value take_notices(napi_env env, napi_callback_info info) {
  enum { NOTICES_AT_ONCE = 4096 };
  napi_value argv[1], result;
  int32_t fd;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  bool any = false;
  for (int i = 0; i < NOTICES_AT_ONCE; i++) {
    char start; /* the rest of the message is cut off */
    ssize_t received = recv(fd, &start, sizeof start, MSG_DONTWAIT);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    any = true;
    if (received < 0 && errno != ENOBUFS) break;
  }
  napi_get_boolean(env, any, &result);
  return result;
}

/*
 * openUnderlay(address, port, receives) -> fd: a UDP socket on the underlay. `address` is 4 or 16 bytes; port 0 takes
 * any. Don't-fragment is always set on what it sends; a receiving one asks for UDP GRO.
 */
napi_value open_underlay(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  uint8_t *address;
  size_t length;
  int32_t port, receives;
  if (!arguments(env, info, 3, argv) || !bytes_argument(env, argv[0], &address, &length) ||
      !int_argument(env, argv[1], &port) || !int_argument(env, argv[2], &receives))
    return NULL;
  if (length != 4 && length != 16) return throw_errno(env, EAFNOSUPPORT, "open an underlay socket");
  bool v4 = length == 4;
  int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "open an underlay socket");
  int on = 1, buffer = 8 << 20, discover = v4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
  /* The FORCE forms pass net.core.*mem_max and need CAP_NET_ADMIN; the plain ones take what is allowed. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (v4) setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover);
  else {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover, sizeof discover);
  }
  if (!receives) {
    /* Nobody reads what is sent to a sender: it must not fill its buffer either. */
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog filter = {.len = 1, .filter = &nothing};
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
  }
  if (receives) {
    /* 2: one datagram at a time, as where the kernel has no UDP_GRO */
    if (receives == 1) setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    /* The outer TOS carries congestion marks that belong to the packet inside (RFC 6040). */
    if (v4) setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    else setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
  }
  struct sockaddr_in local4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 local6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  memcpy(v4 ? (void *)&local4.sin_addr : (void *)&local6.sin6_addr, address, length);
  struct sockaddr *local = v4 ? (struct sockaddr *)&local4 : (struct sockaddr *)&local6;
  if (bind(fd, local, v4 ? sizeof local4 : sizeof local6) == 0) return int_result(env, fd);
  int error = errno;
  close(fd);
  return throw_errno(env, error, "bind the underlay socket");
}

/*
 * probeOffloads(tunFd) -> what this kernel takes over: bit 0 sends many datagrams in one call (UDP_SEGMENT), bit 1
 * receives them so (UDP_GRO), bit 2 takes such trains from and to a TUN (USO). A TUN keeps what it was opened with.
 */
napi_value probe_offloads(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int32_t tun;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &tun)) return NULL;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = 1200, on = 1, found = 0;
  if (fd < 0) return throw_errno(env, errno, "open a UDP socket");
  if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &bytes, sizeof bytes) == 0) found |= 1;
  if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0) found |= 2;
  close(fd);
  unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6;
  if (ioctl(tun, TUNSETOFFLOAD, offloads) == 0) found |= 4;
  return int_result(env, found);
}

/* socketDrops(fd) -> datagrams that the socket's buffer had no room for, modulo 2^32 */
napi_value socket_drops(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int32_t fd;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  uint32_t memory[SK_MEMINFO_VARS];
  socklen_t length = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) != 0) return throw_errno(env, errno, "ask a socket for its drops");
  napi_create_uint32(env, memory[SK_MEMINFO_DROPS], &result);
  return result;
}

/* openEvent() -> fd: what main rings to wake the worker out of its wait */
napi_value open_event(napi_env env, napi_callback_info info) {
  (void)info;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd < 0 ? throw_errno(env, errno, "eventfd") : int_result(env, fd);
}

/* signalEvent(fd) */
napi_value signal_event(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int32_t fd;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  if (eventfd_write(fd, 1) != 0 && errno != EAGAIN) return throw_errno(env, errno, "signal the worker");
  return NULL;
}

/* closeFd(fd) */
napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int32_t fd;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  return close(fd) != 0 ? throw_errno(env, errno, "close") : NULL;
}

/* createNetns(path): a new, empty network namespace, kept alive by a bind mount at `path` (as `ip netns add` does) */
napi_value create_netns(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char path[4096];
  if (!arguments(env, info, 1, argv) || !text_argument(env, argv[0], path, sizeof path)) return NULL;
  int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "create the namespace file");
  close(fd);
  int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), error = 0;
  if (back < 0 || unshare(CLONE_NEWNET) != 0) error = errno;
  else if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) != 0) error = errno;
  leave(back);
  if (!error) return NULL;
  unlink(path);
  return throw_errno(env, error, "create the network namespace");
}

/* deleteNetns(path) */
napi_value delete_netns(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char path[4096];
  if (!arguments(env, info, 1, argv) || !text_argument(env, argv[0], path, sizeof path)) return NULL;
  if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL) return throw_errno(env, errno, "unmount the network namespace");
  return unlink(path) != 0 ? throw_errno(env, errno, "remove the namespace file") : NULL;
}

/* flock(fd) -> whether this open file now holds the exclusive lock */
napi_value lock_file(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int32_t fd;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  bool taken = flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (!taken && errno != EWOULDBLOCK) return throw_errno(env, errno, "lock");
  napi_get_boolean(env, taken, &result);
  return result;
}
