/*
 * Traffic between pods that outlives what a test does to the network, and says at any time what it saw.
 *
 *   traffic KIND ARGUMENTS...
 *
 * Says "ready", then answers each line of stdin with a line of JSON. At the end of stdin it comes to a clean end and says
 * once more what it counted, then the exit code is 0. A failure is a line on stderr and exit code 1.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const struct kind *const KINDS[] = {&bulk_send,        &bulk_receive, &numbered_send,
                                           &numbered_receive, &steady_ask,   &steady_serve};
static atomic_bool stop;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

bool stopping(void) {
  return stop;
}

void lock(void) {
  pthread_mutex_lock(&mutex);
}

void unlock(void) {
  pthread_mutex_unlock(&mutex);
}

void keep_longest(uint64_t *longest_ns, uint64_t since_ns, uint64_t now_ns) {
  if (now_ns > since_ns && now_ns - since_ns > *longest_ns) *longest_ns = now_ns - since_ns;
}

uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

void fail(const char *what) {
  fprintf(stderr, "traffic: %s: %s\n", what, errno ? strerror(errno) : "failed");
  exit(1);
}

void set_option(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof value) != 0) fail("setsockopt");
}

int bound_socket(int type, const char *port) {
  int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
  struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
  if (fd < 0) fail("socket");
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0) fail("bind");
  return fd;
}

int socket_to(int type, const char *address, const char *port, struct sockaddr_in6 *remote, socklen_t *length) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
  bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
  if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) fail(address);
  *length = is_v4 ? sizeof v4 : sizeof v6;
  memcpy(remote, is_v4 ? (void *)&v4 : (void *)&v6, *length);
  int fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

static void *run(void *kind) {
  ((const struct kind *)kind)->run();
  return NULL;
}

static void say(const struct kind *kind) {
  lock();
  kind->report();
  unlock();
  fflush(stdout);
}

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
    const struct kind *kind = KINDS[i];
    if (argc != 2 + kind->argument_count || strcmp(argv[1], kind->name) != 0) continue;
    prctl(PR_SET_TIMERSLACK, 1000);
    signal(SIGPIPE, SIG_IGN);
    kind->prepare(argv + 2);
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)kind) != 0) fail("thread");
    puts("ready");
    fflush(stdout);
    for (char byte; read(STDIN_FILENO, &byte, 1) == 1;)
      if (byte == '\n') say(kind);
    stop = true;
    pthread_join(thread, NULL);
    say(kind);
    return 0;
  }
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
    fprintf(stderr, "traffic %s %s\n", KINDS[i]->name, KINDS[i]->arguments);
  return 1;
}
