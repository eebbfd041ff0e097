/*
 * UDP under flood: a sender that sends as fast as it can, and a receiver that counts what arrives in a window of time.
 *
 *   udp count PORT WARM_UP_S SECONDS              -> {"received":…,"seconds":…}; the warm-up begins with the first
 *   udp flood ADDRESS PORT BYTES SECONDS          -> {"sent":…,"seconds":…}; BYTES of payload in each datagram
 *
 * Batches of 64 by sendmmsg and recvmmsg, for iperf3's one send a datagram is the limit of what it measures. A plain
 * socket: no UDP_SEGMENT, no UDP_GRO, as most programs have it.
 */
#define _GNU_SOURCE
#include "program.h"

enum { BATCH = 64, BUFFER_BYTES = 4 << 20, MAX_PAYLOAD_BYTES = 65507, POLL_MS = 100, PATIENCE_S = 5 };

static char payload[MAX_PAYLOAD_BYTES];

static void count(const char *port, double warm_up_s, double seconds) {
  static char sink[BATCH][2048];
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){sink[i], sizeof sink[i]};
    messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
  }
  int fd = bound_socket(SOCK_DGRAM, port), buffer = BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_RCVBUFFORCE");
  set_receive_timeout(fd, POLL_MS);
  say_ready();
  uint64_t start = now_ns(), begin = 0, end = 0, received = 0, now;
  do {
    int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    now = now_ns();
    if (got > 0 && begin == 0) {
      begin = now + (uint64_t)(warm_up_s * NS_PER_S);
      end = begin + (uint64_t)(seconds * NS_PER_S);
    } else if (got > 0 && now >= begin) {
      received += (uint64_t)got;
    } else if (begin == 0 && now - start > PATIENCE_S * NS_PER_S) {
      errno = ETIMEDOUT;
      fail("no datagram arrived");
    }
  } while (begin == 0 || now < end);
  printf("{\"received\":%llu,\"seconds\":%.6f}\n", (unsigned long long)received, (double)(now - begin) / NS_PER_S);
}

static void flood(const char *address, const char *port, size_t bytes, double seconds) {
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vector = {payload, bytes};
  for (int i = 0; i < BATCH; i++) messages[i].msg_hdr.msg_iov = &vector, messages[i].msg_hdr.msg_iovlen = 1;
  int fd = connected_socket(SOCK_DGRAM, address, port);
  uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * NS_PER_S), sent = 0, now;
  do {
    /* A full queue is what a flood is about; the receiver may not be there yet, or not any more. */
    int got = sendmmsg(fd, messages, BATCH, 0);
    if (got > 0) sent += (uint64_t)got;
    else if (errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED) fail("send");
    now = now_ns();
  } while (now < end);
  printf("{\"sent\":%llu,\"seconds\":%.6f}\n", (unsigned long long)sent, (double)(now - begin) / NS_PER_S);
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "count") == 0) count(argv[2], atof(argv[3]), atof(argv[4]));
  else if (argc == 6 && strcmp(argv[1], "flood") == 0 && atoi(argv[4]) > 0 && atoi(argv[4]) <= MAX_PAYLOAD_BYTES)
    flood(argv[2], argv[3], (size_t)atoi(argv[4]), atof(argv[5]));
  else {
    fputs("use: udp count PORT WARM_UP_S SECONDS | udp flood ADDRESS PORT BYTES SECONDS\n", stderr);
    return 1;
  }
}
