/*
 * Numbered UDP: what of it was lost, doubled, overtaken or changed on the way. Each datagram holds its number and bytes
 * that follow from it. The receiver remembers every number that it saw.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, MAX_BYTES = 1400, MIN_BYTES = 8, POLL_MS = 20, BUFFER_BYTES = 8 << 20, NUMBERS = 1 << 28 };

static int fd;
static uint64_t count, bytes, per_second, refused;
static uint64_t received, duplicates, reordered, changed, highest, longest_gap_ns, last_ns;
static uint8_t *seen;

static void fill(uint8_t *datagram, uint64_t number) {
  uint8_t first = (uint8_t)(number * 0x9e3779b97f4a7c15ull >> 56);
  memcpy(datagram, &number, sizeof number);
  for (size_t i = sizeof number; i < bytes; i++) datagram[i] = (uint8_t)(first + i * 7);
}

static void prepare_send(char **arguments) {
  struct sockaddr_in6 remote;
  socklen_t length;
  fd = socket_to(SOCK_DGRAM, arguments[0], arguments[1], &remote, &length);
  if (connect(fd, (struct sockaddr *)&remote, length) != 0) fail("connect");
  per_second = strtoull(arguments[2], NULL, 10), bytes = strtoull(arguments[3], NULL, 10);
  if (per_second == 0 || bytes < MIN_BYTES || bytes > MAX_BYTES) fail("arguments");
}

/* What became due is sent in one go: at high rates a wake-up is worth several datagrams. */
static void send_all(void) {
  static uint8_t datagrams[BATCH][MAX_BYTES];
  struct iovec vectors[BATCH];
  struct mmsghdr messages[BATCH] = {0};
  uint64_t begin_ns = now();
  for (uint64_t due; !stopping();) {
    due = (now() - begin_ns) * per_second / NS_PER_S + 1;
    while (count < due) {
      unsigned batch = due - count < BATCH ? (unsigned)(due - count) : BATCH;
      for (unsigned i = 0; i < batch; i++) {
        fill(datagrams[i], count + i);
        vectors[i] = (struct iovec){datagrams[i], bytes};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
      }
      int sent = sendmmsg(fd, messages, batch, 0);
      lock();
      /* An ICMP error of the one before is told to the next: that one was not sent, and counts as lost. */
      if (sent <= 0) refused++;
      count += sent > 0 ? (uint64_t)sent : 1;
      unlock();
    }
    uint64_t next_ns = begin_ns + count * NS_PER_S / per_second + 1;
    struct timespec until = {(time_t)(next_ns / NS_PER_S), (long)(next_ns % NS_PER_S)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
}

static void report_sent(void) {
  printf("{\"sent\":%llu,\"refused\":%llu}\n", (unsigned long long)count, (unsigned long long)refused);
}

static void prepare_receive(char **arguments) {
  fd = bound_socket(SOCK_DGRAM, arguments[0]);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
  struct timeval patience = {.tv_usec = POLL_MS * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fail("SO_RCVTIMEO");
  seen = calloc(1, NUMBERS / 8);
  if (seen == NULL) fail("memory");
}

static void count_one(const uint8_t *datagram, size_t length, uint64_t now_ns) {
  uint8_t expected[MAX_BYTES];
  uint64_t number = UINT64_MAX;
  if (length >= MIN_BYTES) memcpy(&number, datagram, sizeof number);
  if (number < NUMBERS) {
    bytes = length;
    fill(expected, number);
  }
  if (number >= NUMBERS || memcmp(datagram, expected, length) != 0) {
    changed++;
    return;
  }
  if (last_ns != 0) keep_longest(&longest_gap_ns, last_ns, now_ns);
  last_ns = now_ns;
  if (seen[number / 8] & 1u << number % 8) {
    duplicates++;
    return;
  }
  seen[number / 8] |= (uint8_t)(1u << number % 8);
  received++;
  if (number + 1 < highest) reordered++;
  else highest = number + 1;
}

static void receive_all(void) {
  static uint8_t datagrams[BATCH][MAX_BYTES];
  struct iovec vectors[BATCH];
  struct mmsghdr messages[BATCH] = {0};
  while (!stopping()) {
    for (int i = 0; i < BATCH; i++) {
      vectors[i] = (struct iovec){datagrams[i], MAX_BYTES};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    uint64_t now_ns = now();
    lock();
    for (int i = 0; i < got; i++) count_one(datagrams[i], messages[i].msg_len, now_ns);
    unlock();
  }
}

/* The longest gap is that since the last report. */
static void report_received(void) {
  printf("{\"received\":%llu,\"duplicates\":%llu,\"reordered\":%llu,\"changed\":%llu,\"highest\":%llu,\"longestGapMs\":%.3f}\n",
         (unsigned long long)received, (unsigned long long)duplicates, (unsigned long long)reordered,
         (unsigned long long)changed, (unsigned long long)highest, (double)longest_gap_ns / NS_PER_MS);
  longest_gap_ns = 0;
}

const struct kind numbered_send = {"numbered-send", "ADDRESS PORT PER_SECOND BYTES", 4, prepare_send, send_all, report_sent};
const struct kind numbered_receive = {"numbered-receive", "PORT", 1, prepare_receive, receive_all, report_received};
