/*
 * One TCP transfer that lasts as long as the test: a stream that never repeats, and a hash of it at both ends. The
 * sender may be paced, so that it leaves the machine room for others.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK_WORDS = 1024, CHUNK_BYTES = CHUNK_WORDS * 8, POLL_MS = 100, LINGER_S = 60 };

static int fd;
static uint64_t bytes, hash = 0xcbf29ce484222325ull, longest_gap_ns, last_ns;
static uint64_t chunk[CHUNK_WORDS];
static const char *end = "open";

static void set_patience(int socket) {
  struct timeval patience = {.tv_usec = POLL_MS * 1000};
  if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fail("SO_RCVTIMEO");
}

static void add_chunk(void) {
  for (int i = 0; i < CHUNK_WORDS; i++) hash = (hash ^ chunk[i]) * 0x100000001b3ull;
}

static void report(void) {
  printf("{\"bytes\":%llu,\"hash\":\"%016llx\",\"end\":\"%s\",\"longestGapMs\":%.3f}\n", (unsigned long long)bytes,
         (unsigned long long)hash, end, (double)longest_gap_ns / NS_PER_MS);
  longest_gap_ns = 0;
}

static void prepare_send(char **arguments) {
  struct sockaddr_in6 remote;
  socklen_t length;
  fd = socket_to(SOCK_STREAM, arguments[0], arguments[1], &remote, &length);
  int bytes_per_s = (int)(atof(arguments[2]) * 1e6 / 8);
  if (bytes_per_s > 0) set_option(fd, SOL_SOCKET, SO_MAX_PACING_RATE, bytes_per_s);
  /* The machine's default congestion control may be another; a namespace may not set its own. */
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0) fail("TCP_CONGESTION cubic");
  if (connect(fd, (struct sockaddr *)&remote, length) != 0) fail("connect");
}

static bool send_chunk(void) {
  for (size_t done = 0; done < CHUNK_BYTES;) {
    ssize_t sent = send(fd, (char *)chunk + done, CHUNK_BYTES - done, MSG_NOSIGNAL);
    if (sent < 0) return false;
    done += (size_t)sent;
  }
  return true;
}

/* Ends by a FIN of its own, and waits for the other's: then all has arrived. */
static void send_all(void) {
  uint64_t state = 88172645463325252ull;
  while (!stopping()) {
    for (int i = 0; i < CHUNK_WORDS; i++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      chunk[i] = state;
    }
    if (!send_chunk()) {
      end = strerror(errno);
      return;
    }
    lock();
    add_chunk();
    bytes += CHUNK_BYTES;
    unlock();
  }
  shutdown(fd, SHUT_WR);
  char byte;
  struct timeval patience = {.tv_sec = LINGER_S};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  end = recv(fd, &byte, 1, 0) == 0 ? "clean" : strerror(errno);
}

static void prepare_receive(char **arguments) {
  fd = bound_socket(SOCK_STREAM, arguments[0]);
  if (listen(fd, 1) != 0) fail("listen");
  set_patience(fd);
}

/* After the stop too it reads until the sender has ended. */
static void receive_all(void) {
  int connection = -1;
  while (connection < 0 && !stopping()) connection = accept(fd, NULL, NULL);
  if (connection < 0) return;
  set_patience(connection);
  uint64_t stopped_ns = 0;
  for (size_t filled = 0;;) {
    ssize_t got = recv(connection, (char *)chunk + filled, CHUNK_BYTES - filled, 0);
    uint64_t now_ns = now();
    if (stopping() && stopped_ns == 0) stopped_ns = now_ns;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (stopped_ns == 0 || now_ns - stopped_ns < LINGER_S * NS_PER_S) continue;
    }
    if (got <= 0) {
      end = got == 0 ? "clean" : strerror(errno);
      close(connection);
      return;
    }
    lock();
    if (last_ns != 0) keep_longest(&longest_gap_ns, last_ns, now_ns);
    last_ns = now_ns;
    bytes += (uint64_t)got;
    filled = (filled + (size_t)got) % CHUNK_BYTES;
    if (filled == 0) add_chunk();
    unlock();
  }
}

const struct kind bulk_send = {"bulk-send", "ADDRESS PORT MBIT_PER_S", 3, prepare_send, send_all, report};
const struct kind bulk_receive = {"bulk-receive", "PORT", 1, prepare_receive, receive_all, report};
