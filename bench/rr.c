/*
 * Request/response over one TCP connection: one byte there, one byte back, blocking, TCP_NODELAY on both sides; the
 * honest latency, for every transaction sleeps and wakes as a real service does.
 *
 *   rr serve PORT                                  answers one connection, then ends
 *   rr ask ADDRESS PORT WARM_UP_S SECONDS          -> {"transactions":…,"seconds":…,"p50Us":…,"p99Us":…}
 *
 * Times go into a histogram of 100 ns steps up to 100 ms; what takes longer counts as 100 ms.
 */
#include "program.h"

enum { BUCKET_NS = 100, BUCKETS = 1000000, PATIENCE_MS = 5000 };

static uint32_t histogram[BUCKETS];

static void set_no_delay(int fd) {
  int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
}

static void serve(const char *port) {
  int listener = bound_socket(SOCK_STREAM, port);
  set_congestion_control(listener);
  if (listen(listener, 1) != 0) fail("listen");
  say_ready();
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) fail("accept");
  set_no_delay(fd);
  char byte;
  while (recv(fd, &byte, 1, 0) == 1)
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return;
}

static double percentile_us(uint64_t transactions, double share) {
  uint64_t wanted = (uint64_t)((double)transactions * share), seen = 0;
  for (int i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if (seen > wanted) return (i + 0.5) * BUCKET_NS / 1000;
  }
  return (double)BUCKETS * BUCKET_NS / 1000;
}

static void ask(const char *address, const char *port, double warm_up_s, double seconds) {
  int fd = connected_socket(SOCK_STREAM, address, port);
  set_no_delay(fd);
  set_receive_timeout(fd, PATIENCE_MS);
  uint64_t begin = now_ns() + (uint64_t)(warm_up_s * NS_PER_S), end = begin + (uint64_t)(seconds * NS_PER_S);
  uint64_t transactions = 0, before = now_ns();
  for (char byte = 'p'; before < end;) {
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) fail("send");
    if (recv(fd, &byte, 1, 0) != 1) fail("receive");
    uint64_t after = now_ns(), bucket = (after - before) / BUCKET_NS;
    if (before >= begin) {
      histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
      transactions++;
    }
    before = after;
  }
  printf("{\"transactions\":%llu,\"seconds\":%.6f,\"p50Us\":%.2f,\"p99Us\":%.2f}\n", (unsigned long long)transactions,
         (double)(before - begin) / NS_PER_S, percentile_us(transactions, 0.5), percentile_us(transactions, 0.99));
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(argv[2]);
  else if (argc == 6 && strcmp(argv[1], "ask") == 0) ask(argv[2], argv[3], atof(argv[4]), atof(argv[5]));
  else {
    fputs("use: rr serve PORT | rr ask ADDRESS PORT WARM_UP_S SECONDS\n", stderr);
    return 1;
  }
}
