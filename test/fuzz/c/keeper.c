/*
 * The keeper with a client that says anything: an input is a number of messages (two bytes of length, the first of which
 * also says in its high bits how many descriptors go with it, then the text), each over a real socket pair. In the end
 * what the keeper holds is what its table says, and no descriptor is lost.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

static jmp_buf over;
__attribute__((noreturn)) static void leave(int code) { longjmp(over, code + 1); }

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#undef _GNU_SOURCE
#define main keeper_main
#define exit leave
#define unlink(path) (void)(path)
#include "../../../keeper/polder-keeper.c"
#undef main
#undef exit
#undef unlink

enum { HELD = 6 };

static unsigned open_files(void) {
  unsigned count = 0;
  DIR *folder = opendir("/proc/self/fd");
  while (folder && readdir(folder)) count++;
  if (folder) closedir(folder);
  return count;
}

static void say_with(int fd, const uint8_t *text, size_t length, unsigned descriptors, int descriptor) {
  struct iovec vector = {(void *)text, length};
  union {
    char bytes[CMSG_SPACE(3 * sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptors) {
    message.msg_control = &control, message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
    for (unsigned i = 0; i < descriptors; i++) memcpy(CMSG_DATA(header) + i * sizeof(int), &descriptor, sizeof(int));
  }
  sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void drain(int fd) {
  char text[1024];
  int got;
  for (;;) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, 0) <= 0 || !(ready.revents & POLLIN) || !hear(fd, text, &got)) return;
    if (got >= 0) close(got);
  }
}

void take_input(const uint8_t *bytes, size_t length) {
  static int descriptor = -1;
  if (descriptor < 0) descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
  held_count = 0, held_max = HELD;
  int pair[2];
  unsigned before = open_files();
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) abort();
  volatile size_t at = 0;
  if (setjmp(over) == 0)
    while (length - at >= 2) {
      size_t text = (size_t)(bytes[at] & 0x3f) << 8 | bytes[at + 1];
      unsigned descriptors = bytes[at] >> 6;
      at += 2;
      if (text > length - at) text = length - at;
      say_with(pair[0], bytes + at, text, descriptors, descriptor);
      at += text;
      struct pollfd ready = {.fd = pair[1], .events = POLLIN};
      if (poll(&ready, 1, 0) > 0 && !serve(pair[1], "/nowhere")) break;
      drain(pair[0]);
      if (held_count > HELD) abort();
    }
  for (unsigned i = 0; i < held_count; i++) close(held[i].fd);
  close(pair[0]);
  close(pair[1]);
  if (open_files() != before) abort();
}
