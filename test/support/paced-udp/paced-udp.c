/*
 * UDP whose datagrams are numbered, so that each one that is lost, and each that comes twice, is seen.
 *
 *   paced-udp receive PORT COUNT SILENCE_MS     waits for COUNT numbers, or until nothing came for SILENCE_MS
 *     -> {"received":…,"lost":…,"doubled":…,"longestGapMs":…,"lostNumbers":[…]}      (the first ten)
 *   paced-udp send ADDRESS PORT COUNT RATE      COUNT datagrams, RATE of them a second, as evenly as the timer allows
 *     -> {"sent":…,"refused":…}
 *
 * The receiver says `ready` first; when all numbers are there it waits another 300 ms for one that comes twice.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum { BATCH = 64, PAYLOAD_BYTES = 64, BUFFER_BYTES = 32 << 20, LAST_LOOK_MS = 300, STEP_NS = 500000 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

__attribute__((noreturn)) static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void set_timeout(int fd, int milliseconds) {
  struct timeval patience = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fail("SO_RCVTIMEO");
}

static void receive(int port, uint32_t count, int silence_ms) {
  static char bytes[BATCH][PAYLOAD_BYTES];
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  uint8_t *seen = calloc(count, 1);
  uint64_t last_ns = 0, gap_ns = 0;
  uint32_t received = 0, doubled = 0;
  int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = BUFFER_BYTES;
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) != 0) fail("bind");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_RCVBUFFORCE");
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes[i], PAYLOAD_BYTES};
    messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
  }
  set_timeout(fd, silence_ms);
  puts("ready");
  fflush(stdout);
  for (;;) {
    int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    uint64_t now = now_ns();
    if (last_ns && now - last_ns > gap_ns) gap_ns = now - last_ns;
    last_ns = now;
    for (int i = 0; i < got; i++) {
      uint32_t number;
      memcpy(&number, bytes[i], sizeof number);
      number = ntohl(number);
      if (number >= count) continue;
      if (seen[number]) doubled++;
      else received++;
      seen[number] = 1;
    }
    if (received == count) set_timeout(fd, LAST_LOOK_MS);
  }
  printf("{\"received\":%u,\"lost\":%u,\"doubled\":%u,\"longestGapMs\":%.1f,\"lostNumbers\":[", received, count - received,
         doubled, (double)gap_ns / 1e6);
  for (uint32_t i = 0, said = 0; i < count && said < 10; i++)
    if (!seen[i]) printf("%s%u", said++ ? "," : "", i);
  puts("]}");
}

static void transmit(const char *address, int port, uint32_t count, double rate) {
  struct sockaddr_in remote = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = BUFFER_BYTES;
  if (fd < 0 || inet_pton(AF_INET, address, &remote.sin_addr) != 1) fail(address);
  if (connect(fd, (struct sockaddr *)&remote, sizeof remote) != 0) fail("connect");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_SNDBUFFORCE");
  char bytes[PAYLOAD_BYTES] = {0};
  uint32_t sent = 0, refused = 0;
  uint64_t begin = now_ns();
  while (sent < count) {
    uint32_t due = (uint32_t)((double)(now_ns() - begin) / 1e9 * rate);
    for (; sent < count && sent < due; sent++) {
      uint32_t number = htonl(sent);
      memcpy(bytes, &number, sizeof number);
      if (send(fd, bytes, sizeof bytes, 0) < 0) refused++;
    }
    nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
  }
  printf("{\"sent\":%u,\"refused\":%u}\n", sent, refused);
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "receive") == 0)
    receive(atoi(argv[2]), (uint32_t)strtoul(argv[3], NULL, 10), atoi(argv[4]));
  else if (argc == 6 && strcmp(argv[1], "send") == 0)
    transmit(argv[2], atoi(argv[3]), (uint32_t)strtoul(argv[4], NULL, 10), atof(argv[5]));
  else return fprintf(stderr, "see the top of paced-udp.c\n"), 64;
  return 0;
}
