/*
 * TCP connections per second: several askers at once, each of which connects, says it has nothing to send, awaits the
 * other end's close, closes, and connects again. No byte of payload goes over them.
 *
 *   connections serve PORT                                   until it is ended
 *   connections ask ADDRESS PORT WARM_UP_S SECONDS           -> {"connections":…,"seconds":…}
 *
 * The asker closes first, so the ports that wait (TIME_WAIT) are its own; where `ask` runs, net.ipv4.tcp_tw_reuse must
 * be 1, or it runs out of them.
 */
#define _GNU_SOURCE
#include "program.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { ASKERS = 8, BACKLOG = 1024, PATIENCE_MS = 5000 };

struct tally {
  uint64_t connections;
};

/* A child is gone when its parent is, however that ended. */
static pid_t start_child(void) {
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid;
}

static void serve(const char *port) {
  int listener = bound_socket(SOCK_STREAM, port);
  set_congestion_control(listener);
  if (listen(listener, BACKLOG) != 0) fail("listen");
  say_ready();
  for (int i = 1; i < ASKERS && start_child() != 0;) i++;
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) continue;
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) continue;
    close(fd);
  }
}

/* One after the other, until the time is over. */
static void ask(const char *address, const char *port, uint64_t begin, uint64_t end, struct tally *tally) {
  for (uint64_t now = now_ns(); now < end;) {
    int fd = connected_socket(SOCK_STREAM, address, port);
    set_receive_timeout(fd, PATIENCE_MS);
    char byte;
    if (shutdown(fd, SHUT_WR) != 0) fail("shutdown");
    ssize_t rest = recv(fd, &byte, 1, 0);
    /* Of some hundred thousand the kernel's own way resets one now and then: that one does not count. */
    if (rest != 0 && errno != ECONNRESET) fail("the other end's close");
    close(fd);
    now = now_ns();
    if (rest == 0 && now >= begin && now < end) tally->connections++;
  }
}

static void ask_all(const char *address, const char *port, double warm_up_s, double seconds) {
  size_t bytes = ASKERS * sizeof(struct tally);
  struct tally *tallies = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (tallies == MAP_FAILED) fail("mmap");
  uint64_t begin = now_ns() + (uint64_t)(warm_up_s * NS_PER_S), end = begin + (uint64_t)(seconds * NS_PER_S);
  for (int i = 0; i < ASKERS; i++) {
    if (start_child() != 0) continue;
    ask(address, port, begin, end, &tallies[i]);
    exit(0);
  }
  uint64_t connections = 0;
  for (int i = 0, status; i < ASKERS; i++) {
    if (wait(&status) < 0 || status != 0) exit(1);
  }
  for (int i = 0; i < ASKERS; i++) connections += tallies[i].connections;
  printf("{\"connections\":%llu,\"seconds\":%.6f}\n", (unsigned long long)connections, seconds);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(argv[2]);
  else if (argc == 6 && strcmp(argv[1], "ask") == 0) ask_all(argv[2], argv[3], atof(argv[4]), atof(argv[5]));
  else {
    fputs("use: connections serve PORT | connections ask ADDRESS PORT WARM_UP_S SECONDS\n", stderr);
    return 1;
  }
}
