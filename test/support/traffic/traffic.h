/*
 * What the kinds of traffic share. Each is a thread that runs until it is told to stop, and a function that prints what
 * it counted, as one line of JSON; the main thread listens to stdin (main.c). Counters are under one lock.
 */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

struct kind {
  const char *name;
  /* What it is called with, beside the name: for the usage. */
  const char *arguments;
  int argument_count;
  /* Opens sockets; the thread begins when it returns. */
  void (*prepare)(char **arguments);
  void (*run)(void);
  void (*report)(void);
};

extern const struct kind bulk_send, bulk_receive, numbered_send, numbered_receive, steady_ask, steady_serve;

/* True once stdin has ended. */
bool stopping(void);
/* Around every change of what report() reads. */
void lock(void);
void unlock(void);
/* Adds to a counter of ns the time since `since_ns`, if it is longer. */
void keep_longest(uint64_t *longest_ns, uint64_t since_ns, uint64_t now_ns);

uint64_t now(void);
__attribute__((noreturn)) void fail(const char *what);
/* A socket on every address of either family. */
int bound_socket(int type, const char *port);
/* A socket of either family, and where it is to be connected to. */
int socket_to(int type, const char *address, const char *port, struct sockaddr_in6 *remote, socklen_t *length);
void set_option(int fd, int level, int option, int value);

#endif
