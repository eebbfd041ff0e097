/*
 * polder-keeper: holds polderd's open descriptors while no polderd runs, where there is no systemd to do it. The devices
 * and the socket so stay open and queue what arrives; the next polderd takes them over and goes on.
 *
 *   polder-keeper SOCKET [IDLE_S]      listens on SOCKET (0600), goes to the background, exits 0 once it can be talked to
 *
 * Messages on the seqpacket socket, each a line of text; a descriptor travels beside it (SCM_RIGHTS):
 *
 *   keeper: polder-keeper 1            its greeting, or `busy`: one client at a time; only root is answered at all
 *   client: put NAME (+ descriptor)    -> `ok`, or `full`, or `bad`; what had that name before is closed
 *   client: remove NAME                -> `ok`, also where there is none
 *   client: list                       -> `descriptor NAME` (+ descriptor) for each, then `all`
 *   client: end                        -> `ok`, and the keeper is gone
 *
 * It ends by itself when nobody has been connected for IDLE_S seconds (300), and when its socket's path is no longer its
 * own: then nobody can reach it any more. It holds nothing else: no standard input or output, no folder, no lock, no
 * memory beyond its tables. It looks into no descriptor and knows no packet.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  DESCRIPTORS_MAX = 8192, /* twice what a polderd has at most */
  NAME_BYTES_MAX = 255,   /* as systemd's */
  MESSAGE_BYTES_MAX = 512,
  /* Its own: /dev/null three times, the listening socket, a client, one that is refused, one in passing, spare. */
  OWN_DESCRIPTORS = 16,
  IDLE_S = 300,
  LOOK_MS = 1000,
  CLIENT_PATIENCE_S = 2,
};

static struct {
  char name[NAME_BYTES_MAX + 1];
  int fd;
} held[DESCRIPTORS_MAX];
static unsigned held_count, held_max;

__attribute__((noreturn)) static void fail(const char *what) {
  fprintf(stderr, "polder-keeper: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* ---- messages ---- */

static bool say(int client, const char *text, int fd) {
  struct iovec vector = {(void *)text, strlen(text)};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = &control, message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return sendmsg(client, &message, MSG_NOSIGNAL) >= 0;
}

/* One message into `text`, and its descriptor, or -1, into *fd. False when the client is gone or says what is no message. */
static bool hear(int client, char *text, int *fd) {
  struct iovec vector = {text, MESSAGE_BYTES_MAX};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(client, &message, MSG_CMSG_CLOEXEC);
  *fd = -1;
  if (length < 0) return false;
  /* More than one descriptor does not fit and was closed by the kernel, or is the padding's: take the first, no other. */
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int got;
      memcpy(&got, CMSG_DATA(header) + i * sizeof got, sizeof got);
      if (*fd < 0) *fd = got;
      else close(got);
    }
  }
  bool whole = length > 0 && length < MESSAGE_BYTES_MAX && memchr(text, 0, (size_t)length) == NULL;
  if (!whole && *fd >= 0) close(*fd);
  text[whole ? length : 0] = 0;
  return whole;
}

/* ---- what is held ---- */

static unsigned find(const char *name) {
  unsigned at = 0;
  while (at < held_count && strcmp(held[at].name, name) != 0) at++;
  return at;
}

static const char *put(const char *name, int fd) {
  size_t length = strlen(name);
  if (fd < 0 || length == 0 || length > NAME_BYTES_MAX) {
    if (fd >= 0) close(fd);
    return "bad";
  }
  unsigned at = find(name);
  if (at == held_max) {
    close(fd);
    return "full";
  }
  if (at < held_count) close(held[at].fd);
  else held_count++;
  memcpy(held[at].name, name, length + 1);
  held[at].fd = fd;
  return "ok";
}

static void drop(const char *name) {
  unsigned at = find(name);
  if (at == held_count) return;
  close(held[at].fd);
  held[at] = held[--held_count];
}

static bool list(int client) {
  char text[MESSAGE_BYTES_MAX];
  for (unsigned i = 0; i < held_count; i++) {
    snprintf(text, sizeof text, "descriptor %.255s", held[i].name);
    if (!say(client, text, held[i].fd)) return false;
  }
  return say(client, "all", -1);
}

/* False when the client is gone, or is better gone. */
static bool serve(int client, const char *path) {
  char text[MESSAGE_BYTES_MAX + 1];
  int fd;
  if (!hear(client, text, &fd)) return false;
  if (strncmp(text, "put ", 4) == 0) return say(client, put(text + 4, fd), -1);
  if (fd >= 0) close(fd);
  if (strncmp(text, "remove ", 7) == 0) {
    drop(text + 7);
    return say(client, "ok", -1);
  }
  if (strcmp(text, "list") == 0) return list(client);
  if (strcmp(text, "end") != 0) return false;
  unlink(path);
  say(client, "ok", -1);
  exit(0);
}

/* ---- the socket ---- */

static bool is_root(int client) {
  struct ucred who;
  socklen_t length = sizeof who;
  return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 && who.uid == 0;
}

/* A client that does not read what it asked for must not hold the keeper. */
static int accept_client(int listener, int current) {
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (client < 0) return current;
  struct timeval patience = {.tv_sec = CLIENT_PATIENCE_S};
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  bool taken = current < 0 && is_root(client);
  if (say(client, taken ? "polder-keeper 1" : "busy", -1) && taken) return client;
  close(client);
  return current;
}

static int listen_at(const char *path, struct stat *own) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (path[0] != '/' || strlen(path) >= sizeof address.sun_path) errno = EINVAL, fail(path);
  strcpy(address.sun_path, path);
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) fail("socket");
  umask(0177);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) {
    if (errno != EADDRINUSE) fail(path);
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(probe, (struct sockaddr *)&address, sizeof address) == 0) exit(0);
    if (errno != ECONNREFUSED || lstat(path, own) != 0 || !S_ISSOCK(own->st_mode)) errno = EADDRINUSE, fail(path);
    close(probe);
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail(path);
  }
  if (listen(listener, 8) != 0 || lstat(path, own) != 0) fail(path);
  return listener;
}

static bool is_own(const char *path, const struct stat *own) {
  struct stat there;
  return lstat(path, &there) == 0 && there.st_ino == own->st_ino && there.st_dev == own->st_dev;
}

/* The parent ends once somebody could connect; what stays has no terminal, no folder and no open file of the caller. */
static void detach(void) {
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child > 0) _exit(0);
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (null > 2) close(null);
  if (chdir("/") != 0) _exit(1);
}

static void raise_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  held_max = limit.rlim_cur > DESCRIPTORS_MAX + OWN_DESCRIPTORS ? DESCRIPTORS_MAX : (unsigned)limit.rlim_cur - OWN_DESCRIPTORS;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: polder-keeper SOCKET [IDLE_S]\n");
    return 64;
  }
  const char *path = argv[1];
  long idle_looks_max = (argc == 3 ? atol(argv[2]) : IDLE_S) * 1000 / LOOK_MS, idle_looks = 0;
  close_range(3, ~0u, 0);
  raise_limit();
  struct stat own;
  int listener = listen_at(path, &own), client = -1;
  detach();
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  for (;;) {
    struct pollfd wait[2] = {{.fd = listener, .events = POLLIN}, {.fd = client, .events = POLLIN}};
    int ready = poll(wait, 2, client < 0 ? LOOK_MS : -1);
    if (ready == 0 && (++idle_looks >= idle_looks_max || !is_own(path, &own))) break;
    if (ready <= 0) continue;
    if (client >= 0 && wait[1].revents && !serve(client, path)) close(client), client = -1;
    /* After the client: one that has just gone makes room for the next. */
    if (wait[0].revents) client = accept_client(listener, client);
    if (client >= 0) idle_looks = 0;
  }
  if (is_own(path, &own)) unlink(path);
  return 0;
}
