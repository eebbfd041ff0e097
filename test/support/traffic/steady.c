/*
 * Many TCP connections, each with a small request at a steady pace, one at a time; the server answers with the same
 * bytes. A connection that ends, by a reset or otherwise, is lost and stays so.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64, EVENTS = 256, TICK_MS = 2, MAX_CONNECTIONS = 10000, CONNECT_MS = 20000 };

struct connection {
  int fd;
  /* When the request that waits for its answer was sent; 0: none does. */
  uint64_t asked_ns, due_ns, number;
  size_t filled;
  uint8_t message[MESSAGE_BYTES];
};

static struct connection *connections;
static int epoll, listener;
static size_t connection_count, lost;
static uint64_t interval_ns, answered, changed, longest_ns;
static const char *why = "";

static void lose(struct connection *connection, const char *reason) {
  close(connection->fd);
  connection->fd = -1;
  lock();
  lost++;
  why = reason;
  unlock();
}

static void watch(struct connection *connection) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  set_option(connection->fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) fail("epoll");
}

static void allow_many_descriptors(void) {
  struct rlimit limit = {MAX_CONNECTIONS + 100, MAX_CONNECTIONS + 100};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll");
}

/* All at once, so that the handshakes do not wait for each other. */
static void prepare_ask(char **arguments) {
  allow_many_descriptors();
  connection_count = strtoull(arguments[2], NULL, 10);
  interval_ns = (uint64_t)(atof(arguments[3]) * (double)NS_PER_MS);
  if (connection_count == 0 || connection_count > MAX_CONNECTIONS) fail("arguments");
  connections = calloc(connection_count, sizeof *connections);
  struct sockaddr_in6 remote;
  socklen_t length;
  for (size_t i = 0; i < connection_count; i++) {
    int fd = connections[i].fd = socket_to(SOCK_STREAM | SOCK_NONBLOCK, arguments[0], arguments[1], &remote, &length);
    if (connect(fd, (struct sockaddr *)&remote, length) != 0 && errno != EINPROGRESS) fail("connect");
  }
  uint64_t begin_ns = now();
  for (size_t i = 0; i < connection_count; i++) {
    struct pollfd writable = {.fd = connections[i].fd, .events = POLLOUT};
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if (poll(&writable, 1, CONNECT_MS) == 1) getsockopt(writable.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    if (error != 0) fail("connect");
    watch(&connections[i]);
    /* Spread over the interval, not in step. */
    connections[i].due_ns = begin_ns + interval_ns * i / connection_count;
  }
}

static void ask(struct connection *connection, uint64_t now_ns) {
  connection->number++;
  memcpy(connection->message, &connection->number, sizeof connection->number);
  for (size_t i = sizeof connection->number; i < MESSAGE_BYTES; i++)
    connection->message[i] = (uint8_t)(connection->number * 13 + i);
  connection->asked_ns = now_ns;
  connection->due_ns = connection->due_ns + interval_ns > now_ns ? connection->due_ns + interval_ns : now_ns;
  if (send(connection->fd, connection->message, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES)
    lose(connection, strerror(errno));
}

static void hear(struct connection *connection) {
  uint8_t answer[MESSAGE_BYTES];
  ssize_t got = recv(connection->fd, answer, MESSAGE_BYTES - connection->filled, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    lose(connection, got == 0 ? "closed by the other end" : strerror(errno));
    return;
  }
  lock();
  if (memcmp(answer, connection->message + connection->filled, (size_t)got) != 0) changed++;
  connection->filled += (size_t)got;
  if (connection->filled == MESSAGE_BYTES) {
    keep_longest(&longest_ns, connection->asked_ns, now());
    connection->filled = 0, connection->asked_ns = 0;
    answered++;
  }
  unlock();
}

static void ask_all(void) {
  struct epoll_event events[EVENTS];
  while (!stopping()) {
    int count = epoll_wait(epoll, events, EVENTS, TICK_MS);
    for (int i = 0; i < count; i++) hear(events[i].data.ptr);
    uint64_t now_ns = now();
    for (size_t i = 0; i < connection_count; i++) {
      struct connection *connection = &connections[i];
      if (connection->fd >= 0 && connection->asked_ns == 0 && connection->due_ns <= now_ns) ask(connection, now_ns);
    }
  }
}

/* The longest stall is that since the last report, and counts what still waits; so does `waiting`. */
static void report_asked(void) {
  uint64_t now_ns = now(), waiting_ns = 0;
  for (size_t i = 0; i < connection_count; i++)
    if (connections[i].fd >= 0 && connections[i].asked_ns != 0)
      keep_longest(&waiting_ns, connections[i].asked_ns, now_ns);
  if (waiting_ns > longest_ns) longest_ns = waiting_ns;
  printf("{\"connections\":%zu,\"lost\":%zu,\"why\":\"%s\",\"answered\":%llu,\"changed\":%llu,\"longestStallMs\":%.3f,"
         "\"waitingMs\":%.3f}\n", connection_count, lost, why, (unsigned long long)answered,
         (unsigned long long)changed, (double)longest_ns / NS_PER_MS, (double)waiting_ns / NS_PER_MS);
  longest_ns = 0;
}

static void prepare_serve(char **arguments) {
  allow_many_descriptors();
  listener = bound_socket(SOCK_STREAM | SOCK_NONBLOCK, arguments[0]);
  if (listen(listener, MAX_CONNECTIONS) != 0) fail("listen");
  connections = calloc(MAX_CONNECTIONS, sizeof *connections);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll");
}

static void take_connections(void) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
    if (connection_count == MAX_CONNECTIONS) fail("too many connections");
    connections[connection_count].fd = fd;
    watch(&connections[connection_count++]);
  }
}

static void echo(struct connection *connection) {
  uint8_t bytes[MESSAGE_BYTES];
  ssize_t got = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) lose(connection, got == 0 ? "closed by the other end" : strerror(errno));
  else if (send(connection->fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) lose(connection, strerror(errno));
}

static void serve_all(void) {
  struct epoll_event events[EVENTS];
  while (!stopping()) {
    int count = epoll_wait(epoll, events, EVENTS, TICK_MS * 10);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == NULL) take_connections();
      else echo(events[i].data.ptr);
    }
  }
}

static void report_served(void) {
  printf("{\"connections\":%zu,\"lost\":%zu,\"why\":\"%s\"}\n", connection_count, lost, why);
}

const struct kind steady_ask = {"steady-ask", "ADDRESS PORT CONNECTIONS INTERVAL_MS", 4, prepare_ask, ask_all, report_asked};
const struct kind steady_serve = {"steady-serve", "PORT", 1, prepare_serve, serve_all, report_served};
