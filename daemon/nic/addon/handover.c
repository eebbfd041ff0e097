/*
 * What hands descriptors from one process to the next: Unix sockets with messages (Node has only streams), descriptors
 * beside a message (SCM_RIGHTS), and whether a descriptor that came back is what its name says. Whoever sent it may
 * have sent anything: nothing is read from or written to it before that is known.
 */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef TUNGETDEVNETNS /* Linux 5.2 */
#define TUNGETDEVNETNS _IO('T', 227)
#endif

enum { DESCRIPTORS_MAX = 253 /* of one message: SCM_MAX_FD */ };

union control {
  char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
  struct cmsghdr align;
};

/* As systemd writes it: a path, or @ and a name of the abstract kind. */
static bool address_of(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t bytes = strlen(path);
  if (bytes < 2 || bytes >= sizeof address->sun_path) return false;
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, bytes);
  if (path[0] == '@') address->sun_path[0] = 0;
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (path[0] != '@'));
  return true;
}

/* The message's header for `count` descriptors, if any. */
static void attach(struct msghdr *message, union control *control, const uint8_t *fds, size_t count) {
  if (count == 0) return;
  message->msg_control = control;
  message->msg_controllen = CMSG_SPACE(count * sizeof(int));
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, count * sizeof(int));
}

/* connectMessages(path, timeoutMs) -> fd: a seqpacket socket on which each call waits so long at most */
napi_value connect_messages(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  char path[128];
  int32_t timeout;
  if (!arguments(env, info, 2, argv) || !text_argument(env, argv[0], path, sizeof path) || !int_argument(env, argv[1], &timeout))
    return NULL;
  struct sockaddr_un address = {0};
  socklen_t length;
  if (!address_of(path, &address, &length)) return throw_errno(env, ENAMETOOLONG, "connect");
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "open a Unix socket");
  struct timeval patience = {.tv_sec = timeout / 1000, .tv_usec = timeout % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&address, length) == 0) return int_result(env, fd);
  int error = errno;
  close(fd);
  return throw_errno(env, error, "connect");
}

/* sendDescriptors(fd, bytes, fds): one message */
napi_value send_descriptors(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int32_t fd;
  uint8_t *bytes, *fds;
  size_t length, fds_length;
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &fd) || !bytes_argument(env, argv[1], &bytes, &length) ||
      !bytes_argument(env, argv[2], &fds, &fds_length))
    return NULL;
  if (fds_length / sizeof(int) > DESCRIPTORS_MAX) return throw_errno(env, EINVAL, "send descriptors");
  struct iovec vector = {bytes, length};
  union control control = {0};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  attach(&message, &control, fds, fds_length / sizeof(int));
  return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? throw_errno(env, errno, "send descriptors") : NULL;
}

/* notifySocket(path, bytes, fds): one datagram to where systemd, or who stands for it, listens */
napi_value notify_socket(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  char path[128];
  uint8_t *bytes, *fds;
  size_t length, fds_length;
  if (!arguments(env, info, 3, argv) || !text_argument(env, argv[0], path, sizeof path) ||
      !bytes_argument(env, argv[1], &bytes, &length) || !bytes_argument(env, argv[2], &fds, &fds_length))
    return NULL;
  struct sockaddr_un address = {0};
  socklen_t address_length;
  if (!address_of(path, &address, &address_length) || fds_length / sizeof(int) > DESCRIPTORS_MAX)
    return throw_errno(env, EINVAL, "notify");
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "open a Unix socket");
  struct timeval patience = {.tv_sec = 1};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  struct iovec vector = {bytes, length};
  union control control = {0};
  struct msghdr message = {.msg_name = &address, .msg_namelen = address_length, .msg_iov = &vector, .msg_iovlen = 1};
  attach(&message, &control, fds, fds_length / sizeof(int));
  ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  int error = errno;
  close(fd);
  return sent < 0 ? throw_errno(env, error, "notify") : NULL;
}

/*
 * receiveDescriptors(fd, into, fds) -> the message's length, 0 where the other end is gone. Descriptors go to `fds`, -1
 * behind the last; more than fit into it are closed.
 */
napi_value receive_descriptors(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int32_t fd;
  uint8_t *bytes, *fds;
  size_t length, fds_length;
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &fd) || !bytes_argument(env, argv[1], &bytes, &length) ||
      !bytes_argument(env, argv[2], &fds, &fds_length))
    return NULL;
  struct iovec vector = {bytes, length};
  union control control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t received;
  do received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return throw_errno(env, errno, "receive descriptors");
  memset(fds, 0xff, fds_length);
  size_t filled = 0, room = fds_length / sizeof(int);
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int got;
      memcpy(&got, CMSG_DATA(header) + i * sizeof got, sizeof got);
      if (filled < room) memcpy(fds + filled++ * sizeof got, &got, sizeof got);
      else close(got);
    }
  }
  return int_result(env, (int32_t)received);
}

/* isConnected(fd) -> whether the other end of the socket is still there */
napi_value is_connected(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int32_t fd;
  char byte;
  if (!arguments(env, info, 1, argv) || !int_argument(env, argv[0], &fd)) return NULL;
  ssize_t length = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  napi_get_boolean(env, length > 0 || (length < 0 && (errno == EAGAIN || errno == EINTR)), &result);
  return result;
}

/* Whether two open files are of one namespace; `netns` -1: this thread's. Closes `theirs`. */
static bool same_netns(int theirs, int netns) {
  struct stat a, b;
  bool same = theirs >= 0 && fstat(theirs, &a) == 0 &&
              (netns < 0 ? stat("/proc/thread-self/ns/net", &b) : fstat(netns, &b)) == 0 && a.st_ino == b.st_ino &&
              a.st_dev == b.st_dev;
  if (theirs >= 0) close(theirs);
  return same;
}

/* As what this process opens itself: not for children, and never waiting. */
static bool settle(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* isTun(fd, netnsFd, name) -> whether it is attached to that very device, in that namespace, as openTun would */
napi_value is_tun(napi_env env, napi_callback_info info) {
  napi_value argv[3], result;
  int32_t fd, netns;
  char name[IFNAMSIZ];
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &fd) || !int_argument(env, argv[1], &netns) ||
      !text_argument(env, argv[2], name, sizeof name))
    return NULL;
  struct stat file;
  struct ifreq device = {0};
  const short kind = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  bool is = fstat(fd, &file) == 0 && S_ISCHR(file.st_mode) && ioctl(fd, TUNGETIFF, &device) == 0 &&
            strncmp(device.ifr_name, name, IFNAMSIZ) == 0 && (device.ifr_flags & (kind | IFF_TAP | IFF_MULTI_QUEUE)) == kind &&
            same_netns(ioctl(fd, TUNGETDEVNETNS), netns) && settle(fd);
  napi_get_boolean(env, is, &result);
  return result;
}

/* isUnderlay(fd, address, port) -> whether it is a UDP socket of this namespace that is bound to just that */
napi_value is_underlay(napi_env env, napi_callback_info info) {
  napi_value argv[3], result;
  int32_t fd, port;
  uint8_t *wanted;
  size_t length;
  if (!arguments(env, info, 3, argv) || !int_argument(env, argv[0], &fd) || !bytes_argument(env, argv[1], &wanted, &length) ||
      !int_argument(env, argv[2], &port))
    return NULL;
  struct sockaddr_storage bound = {0};
  socklen_t bound_length = sizeof bound, protocol_length = sizeof(int);
  const struct sockaddr_in *v4 = (const void *)&bound;
  const struct sockaddr_in6 *v6 = (const void *)&bound;
  int protocol = 0;
  bool is = getsockname(fd, (struct sockaddr *)&bound, &bound_length) == 0 &&
            bound.ss_family == (length == 4 ? AF_INET : AF_INET6) &&
            getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_length) == 0 && protocol == IPPROTO_UDP;
  if (is && length == 4) is = ntohs(v4->sin_port) == port && memcmp(&v4->sin_addr, wanted, 4) == 0;
  if (is && length == 16) is = ntohs(v6->sin6_port) == port && memcmp(&v6->sin6_addr, wanted, 16) == 0;
  is = is && same_netns(ioctl(fd, SIOCGSKNS), -1) && settle(fd);
  napi_get_boolean(env, is, &result);
  return result;
}
