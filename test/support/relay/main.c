/*
 * Carries Ethernet frames between two devices, as a wire would, and makes the faults of a bad one. For kernels without
 * netem. The devices are the near ends of two veths whose offloads are off, in a namespace where nobody else talks.
 *
 *   relay SEED DEVICE_A DEVICE_B        one command a line on stdin, one line of answer each on stdout
 *
 *   set ab|ba [NAME=NUMBER]...          replaces the settings of one direction (direction.h); answered by "ok"
 *   stats                               what was counted since the start, as JSON
 *
 * Says "ready" first, and ends with its stdin. What is on its way when a setting changes arrives as it would have.
 */
#define _GNU_SOURCE
#include "direction.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, FRAME_BYTES = 9216, BUFFER_BYTES = 16 << 20, LINE_BYTES = 512 };

static struct direction directions[2];
static const char *const NAMES[2] = {"ab", "ba"};

__attribute__((noreturn)) static void fail(const char *what) {
  fprintf(stderr, "relay: %s: %s\n", what, errno ? strerror(errno) : "failed");
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static int open_device(const char *name) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1, buffer = BUFFER_BYTES;
  struct sockaddr_ll device = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  device.sll_ifindex = (int)if_nametoindex(name);
  if (device.sll_ifindex == 0) fail(name);
  if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0 ||
      setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0 ||
      bind(fd, (struct sockaddr *)&device, sizeof device) != 0)
    fail(name);
  return fd;
}

/* Everything that has arrived at one device. */
static void receive(int fd, struct direction *direction) {
  static uint8_t bytes[BATCH][FRAME_BYTES];
  static struct mmsghdr messages[BATCH];
  static struct iovec vectors[BATCH];
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes[i], FRAME_BYTES};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
  if (count < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN) fail("receive");
  for (int i = 0; i < count; i++) {
    errno = 0;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC) fail("a frame larger than any wire's: switch the offloads off");
    take(direction, bytes[i], messages[i].msg_len, now());
  }
}

/* Sends what is due; a device that refuses a frame loses it, as a wire would. */
static void deliver(struct direction *direction, int fd, uint64_t now_ns) {
  for (struct frame *frame; (frame = first(direction)) != NULL && frame->due_ns <= now_ns; free(frame)) {
    pop(direction);
    if (send(fd, frame->bytes, frame->length, 0) < 0) {
      direction->counts.refused++;
    } else {
      direction->counts.delivered++;
      direction->counts.bytes += frame->length;
    }
  }
}

static void set(struct direction *direction, char *words) {
  struct settings next = {.queue = DEFAULT_QUEUE_FRAMES};
  for (char *word; (word = strtok_r(words, " ", &words)) != NULL;) {
    char *value = strchr(word, '=');
    double *setting = NULL;
    if (value == NULL) fail(word);
    *value++ = 0;
#define X(name) if (strcmp(word, #name) == 0) setting = &next.name;
    SETTINGS(X)
#undef X
    errno = 0;
    if (setting == NULL) fail(word);
    *setting = atof(value);
  }
  direction->settings = next;
  puts("ok");
}

static void print_stats(void) {
  for (int i = 0; i < 2; i++) {
    printf("%s\"%s\":{", i ? "," : "{", NAMES[i]);
#define X(name) printf("\"%s\":%llu,", #name, (unsigned long long)directions[i].counts.name);
    COUNTS(X)
#undef X
    printf("\"waiting\":%zu}", directions[i].waiting_count);
  }
  puts("}");
}

static void obey(char *line) {
  errno = 0;
  if (strcmp(line, "stats") == 0) print_stats();
  else if (strncmp(line, "set ab", 6) == 0) set(&directions[0], line + 6);
  else if (strncmp(line, "set ba", 6) == 0) set(&directions[1], line + 6);
  else fail(line);
  fflush(stdout);
}

/* False at the end of stdin. */
static bool read_commands(void) {
  static char text[LINE_BYTES];
  static size_t length;
  ssize_t got = read(STDIN_FILENO, text + length, sizeof text - 1 - length);
  if (got <= 0) return false;
  length += (size_t)got;
  text[length] = 0;
  char *line = text;
  for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = 0;
    obey(line);
  }
  length -= (size_t)(line - text);
  memmove(text, line, length);
  return true;
}

/* Until the next frame is due, or NULL: for ever. */
static const struct timespec *patience(uint64_t now_ns) {
  static struct timespec wait;
  uint64_t due_ns = UINT64_MAX;
  for (int i = 0; i < 2; i++) {
    const struct frame *next = first(&directions[i]);
    if (next != NULL && next->due_ns < due_ns) due_ns = next->due_ns;
  }
  if (due_ns == UINT64_MAX) return NULL;
  uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
  wait.tv_sec = (time_t)(left_ns / 1000000000ull), wait.tv_nsec = (long)(left_ns % 1000000000ull);
  return &wait;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fputs("use: relay SEED DEVICE_A DEVICE_B\n", stderr);
    return 1;
  }
  /* The default slack of 50 us would be added to every delay. */
  prctl(PR_SET_TIMERSLACK, 1000);
  struct pollfd watched[3] = {{.fd = STDIN_FILENO, .events = POLLIN}};
  for (int i = 0; i < 2; i++) {
    watched[1 + i] = (struct pollfd){.fd = open_device(argv[2 + i]), .events = POLLIN};
    directions[i].settings.queue = DEFAULT_QUEUE_FRAMES;
    directions[i].seed = strtoull(argv[1], NULL, 10) * 2 + (uint64_t)i;
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    if (ppoll(watched, 3, patience(now()), NULL) < 0 && errno != EINTR) fail("poll");
    if (watched[0].revents != 0 && !read_commands()) return 0;
    for (int i = 0; i < 2; i++) {
      if (watched[1 + i].revents != 0) receive(watched[1 + i].fd, &directions[i]);
      deliver(&directions[i], watched[2 - i].fd, now());
    }
  }
}
