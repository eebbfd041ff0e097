/*
 * What the bench's C programs share. They are the clock, the sender and the receiver of a measurement: in C, so that
 * the tool is not what is measured. Each prints one JSON value on stdout; a failure is a line on stderr and exit code 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

__attribute__((noreturn)) static inline void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
  exit(1);
}

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* What stops arriving must end in an error, not in a program that waits for ever. */
static inline void set_receive_timeout(int fd, int milliseconds) {
  struct timeval patience = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fail("SO_RCVTIMEO");
}

/* The machine's default may be another; a namespace may not set its own. */
static inline void set_congestion_control(int fd) {
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0) fail("TCP_CONGESTION cubic");
}

/* A socket on every address of either family. */
static inline int bound_socket(int type, const char *port) {
  int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0), on = 1, off = 0;
  struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
      bind(fd, (struct sockaddr *)&local, sizeof local) != 0)
    fail("bind");
  return fd;
}

/* A socket connected to an address of either family; IPv4 goes as IPv4 on the wire. */
static inline int connected_socket(int type, const char *address, const char *port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
  int is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
  if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) fail(address);
  int fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
  if (fd >= 0 && type == SOCK_STREAM) set_congestion_control(fd);
  struct sockaddr *remote = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  if (fd < 0 || connect(fd, remote, is_v4 ? sizeof v4 : sizeof v6) != 0) fail("connect");
  return fd;
}

/* Tells the bench that a peer may start. */
static inline void say_ready(void) {
  puts("ready");
  fflush(stdout);
}
