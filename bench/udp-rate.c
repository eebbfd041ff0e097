/*
 * The highest rate of UDP datagrams at which under 1 % is lost: a paced sender, and a receiver that it asks, over TCP,
 * how many of a probe's datagrams arrived.
 *
 *   udp-rate serve PORT                             serves one search, then ends
 *   udp-rate search ADDRESS PORT BYTES PROBE_S      -> {"kpps":…,"lostShare":…,"sendableKpps":…}
 *
 * The first probe sends as fast as it can: nothing above that can be asked for (sendableKpps). Then the range between a
 * fraction of what arrived of it and what was sent is halved on a logarithmic scale, a few times. A probe that lost too
 * much is made again before it counts: one hiccup of the machine is no limit. Each datagram begins with the number of
 * its probe, so that late ones of another do not count.
 *
 * Pacing: batches of at most 64 by sendmmsg, each at its time by an absolute sleep, which leaves the CPU to others.
 */
#define _GNU_SOURCE
#include "program.h"
#include <poll.h>
#include <sys/prctl.h>

enum { BATCH = 64, BATCH_NS = 200000, BUFFER_BYTES = 4 << 20, MAX_PAYLOAD_BYTES = 1472 };
enum { STEPS = 8, TRIES = 2, SETTLE_NS = 30000000, PATIENCE_MS = 5000, RANGE_BELOW = 8 };
static const double LOST_SHARE_MAX = 0.01;

struct probe {
  double pps, lost_share;
};

static uint32_t payloads[BATCH][MAX_PAYLOAD_BYTES / sizeof(uint32_t)];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static void prepare(size_t bytes) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){payloads[i], bytes};
    messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
  }
}

static void serve(const char *port) {
  int udp = bound_socket(SOCK_DGRAM, port), listener = bound_socket(SOCK_STREAM, port), buffer = BUFFER_BYTES;
  if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_RCVBUFFORCE");
  if (listen(listener, 1) != 0) fail("listen");
  prepare(MAX_PAYLOAD_BYTES);
  say_ready();
  int control = accept(listener, NULL, NULL);
  if (control < 0) fail("accept");
  struct pollfd both[2] = {{.fd = udp, .events = POLLIN}, {.fd = control, .events = POLLIN}};
  for (uint32_t current = 0, received = 0, asked;;) {
    if (poll(both, 2, -1) < 0) fail("poll");
    int got = recvmmsg(udp, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) received += payloads[i][0] == current;
    /* Whatever is in the queue counts before the question is answered. */
    if (got > 0 || !(both[1].revents)) continue;
    if (recv(control, &asked, sizeof asked, MSG_WAITALL) != sizeof asked) return;
    if (send(control, &received, sizeof received, MSG_NOSIGNAL) != sizeof received) return;
    current = asked, received = 0;
  }
}

/* How many of the last probe arrived; what is sent from now on is the next one's. */
static uint32_t ask_and_begin(int control, uint32_t next) {
  uint32_t received;
  if (send(control, &next, sizeof next, MSG_NOSIGNAL) != sizeof next) fail("asking the receiver");
  if (recv(control, &received, sizeof received, MSG_WAITALL) != sizeof received) fail("the receiver's answer");
  return received;
}

static void sleep_until(uint64_t ns) {
  struct timespec at = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* Sends at `pps`, or as fast as it can where that is 0. */
static struct probe run_probe(int udp, int control, double pps, double seconds) {
  static uint32_t number;
  number++;
  for (int i = 0; i < BATCH; i++) payloads[i][0] = number;
  ask_and_begin(control, number);
  double in_time = pps * BATCH_NS / (double)NS_PER_S;
  unsigned batch = pps == 0 || in_time > BATCH ? BATCH : in_time < 1 ? 1 : (unsigned)in_time;
  uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * NS_PER_S), sent = 0, now = begin;
  while (now < end) {
    if (pps > 0) sleep_until(begin + (uint64_t)((double)sent / pps * NS_PER_S));
    int got = sendmmsg(udp, messages, batch, 0);
    if (got > 0) sent += (uint64_t)got;
    else if (errno != ENOBUFS && errno != EAGAIN) fail("send");
    now = now_ns();
  }
  sleep_until(now + SETTLE_NS);
  double received = ask_and_begin(control, 0);
  return (struct probe){(double)sent * NS_PER_S / (double)(now - begin), 1 - received / (double)sent};
}

static double geometric_mean(double a, double b) {
  double guess = (a + b) / 2;
  for (int i = 0; i < 40; i++) guess = (guess + a * b / guess) / 2;
  return guess;
}

static void search(const char *address, const char *port, size_t bytes, double seconds) {
  prepare(bytes);
  prctl(PR_SET_TIMERSLACK, 1ul);
  int udp = connected_socket(SOCK_DGRAM, address, port), control = connected_socket(SOCK_STREAM, address, port);
  set_receive_timeout(control, PATIENCE_MS);
  struct probe flood = run_probe(udp, control, 0, seconds), best = {0, 0};
  double low = flood.pps * (1 - flood.lost_share) / RANGE_BELOW, high = flood.pps;
  if (low <= 0) {
    errno = ENETUNREACH;
    fail("no datagram arrived");
  }
  if (flood.lost_share < LOST_SHARE_MAX) best = flood;
  for (int step = 0; step < STEPS && best.pps < flood.pps; step++) {
    double middle = geometric_mean(low, high);
    struct probe probe;
    for (int i = 0; i < TRIES; i++) {
      probe = run_probe(udp, control, middle, seconds);
      if (probe.lost_share < LOST_SHARE_MAX) break;
    }
    if (probe.lost_share >= LOST_SHARE_MAX) high = middle;
    else {
      low = middle;
      if (probe.pps > best.pps) best = probe;
    }
  }
  printf("{\"kpps\":%.3f,\"lostShare\":%.5f,\"sendableKpps\":%.3f}\n", best.pps / 1000, best.lost_share,
         flood.pps / 1000);
}

int main(int argc, char **argv) {
  size_t bytes = argc == 6 ? (size_t)atoi(argv[4]) : 0;
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(argv[2]);
  else if (argc == 6 && strcmp(argv[1], "search") == 0 && bytes >= sizeof(uint32_t) && bytes <= MAX_PAYLOAD_BYTES)
    search(argv[2], argv[3], bytes, atof(argv[5]));
  else {
    fputs("use: udp-rate serve PORT | udp-rate search ADDRESS PORT BYTES PROBE_S\n", stderr);
    return 1;
  }
}
