/*
 * UDP whose datagrams are numbered, so that each one that is lost, and each that comes twice, is seen.
 *
 *   paced-udp receive PORT SILENCE_MS              counts until a line with the number of datagrams sent is on stdin and
 *                                                  all are there, or none came for SILENCE_MS since
 *     -> {"received":…,"lost":…,"doubled":…,"longestGapMs":…,"lostNumbers":[…]}      (the first ten)
 *   paced-udp send ADDRESS PORT COUNT RATE         COUNT datagrams (0: until SIGTERM), RATE of them a second, as evenly as
 *                                                  the timer allows
 *     -> {"sent":…,"refused":…}
 *
 * The receiver says `ready` first; when all numbers are there it waits another 300 ms for one that comes twice.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, PAYLOAD_BYTES = 64, BUFFER_BYTES = 32 << 20, LAST_LOOK_MS = 300, STEP_NS = 500000, NUMBERS_MAX = 20000000 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

__attribute__((noreturn)) static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void print(const uint8_t *seen, uint32_t sent, uint32_t doubled, uint64_t gap_ns) {
  uint32_t received = 0;
  for (uint32_t i = 0; i < sent; i++) received += seen[i];
  printf("{\"received\":%u,\"lost\":%u,\"doubled\":%u,\"longestGapMs\":%.1f,\"lostNumbers\":[", received, sent - received,
         doubled, (double)gap_ns / 1e6);
  for (uint32_t i = 0, said = 0; i < sent && said < 10; i++)
    if (!seen[i]) printf("%s%u", said++ ? "," : "", i);
  puts("]}");
}

static void receive(int port, int silence_ms) {
  static char bytes[BATCH][PAYLOAD_BYTES];
  static uint8_t seen[NUMBERS_MAX];
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  uint64_t last_ns = 0, gap_ns = 0, quiet_since_ns = 0;
  uint32_t received = 0, doubled = 0, sent = 0;
  int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = BUFFER_BYTES;
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) != 0) fail("bind");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_RCVBUFFORCE");
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes[i], PAYLOAD_BYTES};
    messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct pollfd wait[2] = {{.fd = fd, .events = POLLIN}, {.fd = sent ? -1 : STDIN_FILENO, .events = POLLIN}};
    poll(wait, 2, 20);
    if (wait[1].revents && (scanf("%u", &sent) != 1 || sent == 0 || sent > NUMBERS_MAX)) fail("how many were sent");
    int got = wait[0].revents ? recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL) : 0;
    uint64_t now = now_ns();
    if (got <= 0) {
      uint64_t patience_ms = received == sent ? LAST_LOOK_MS : (uint64_t)silence_ms;
      if (sent && now - quiet_since_ns > patience_ms * 1000000) break;
      continue;
    }
    if (last_ns && now - last_ns > gap_ns) gap_ns = now - last_ns;
    last_ns = quiet_since_ns = now;
    for (int i = 0; i < got; i++) {
      uint32_t number;
      memcpy(&number, bytes[i], sizeof number);
      number = ntohl(number);
      if (number >= NUMBERS_MAX) continue;
      if (seen[number]) doubled++;
      else received++;
      seen[number] = 1;
    }
  }
  print(seen, sent, doubled, gap_ns);
}

static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
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
  signal(SIGTERM, stop);
  if (count == 0) count = NUMBERS_MAX;
  while (sent < count && !stopped) {
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
  if (argc == 4 && strcmp(argv[1], "receive") == 0) receive(atoi(argv[2]), atoi(argv[3]));
  else if (argc == 6 && strcmp(argv[1], "send") == 0)
    transmit(argv[2], atoi(argv[3]), (uint32_t)strtoul(argv[4], NULL, 10), atof(argv[5]));
  else return fprintf(stderr, "see the top of paced-udp.c\n"), 64;
  return 0;
}
