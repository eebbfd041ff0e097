/*
 * The CNI shim with a peer that answers anything, and a runtime that passes anything. The first byte of an input says
 * which of the two is the input's; the second into how many bytes a read is cut.
 *
 * The shim is included as it is; what it asks of the system comes from the input, and where it would exit it comes back.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

static const uint8_t *input;
static size_t input_length, step;
static char *environment;
static jmp_buf over;

static ssize_t feed(void *out, size_t size);
static ssize_t swallow(const void *bytes, size_t length);
__attribute__((noreturn)) static void leave(int code) { longjmp(over, code + 1); }
static char *from_input(const char *name);

/* Its own declarations come first, or these names would be changed there too. */
#undef _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#define main shim_main
#define exit leave
#define getenv from_input
#define read(fd, out, size) ((void)(fd), feed(out, size))
#define recv(fd, out, size, flags) ((void)(fd), feed(out, size))
#define send(fd, bytes, length, flags) ((void)(fd), swallow(bytes, length))
#define write(fd, bytes, length) ((void)(fd), swallow(bytes, length))
#define close(fd) (void)(fd)
#include "../../../cni-plugin/polder-cni.c"
#undef main
#undef exit
#undef getenv
#undef read
#undef recv
#undef send
#undef write
#undef close

static ssize_t feed(void *out, size_t size) {
  size_t take = input_length < size ? input_length : size;
  if (take > step) take = step;
  memcpy(out, input, take);
  input += take, input_length -= take;
  return (ssize_t)take;
}

/* Every byte that is sent is looked at: the sanitizer knows which of them are nobody's. */
static ssize_t swallow(const void *bytes, size_t length) {
  volatile uint8_t sum = 0;
  for (size_t i = 0; i < length; i++) sum += ((const uint8_t *)bytes)[i];
  return (ssize_t)length;
}

/* The n-th line of the input for the n-th variable; whether it is there at all stands in its first character. */
static char *from_input(const char *name) {
  static const char *const names[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH",
                                      "POLDER_SOCKET", "POLDER_SPOOL"};
  char *line = environment;
  for (size_t i = 0; line && i < sizeof names / sizeof *names; i++) {
    char *end = strchr(line, '\n');
    if (strcmp(names[i], name) == 0) {
      if (end) *end = 0;
      char *value = line[0] == '-' ? NULL : strdup(line);
      if (end) *end = '\n';
      return value;
    }
    line = end ? end + 1 : NULL;
  }
  return NULL;
}

/* CNI's own words up to the first empty line, then the configuration. */
static void take_call(const uint8_t *bytes, size_t length) {
  char *text = malloc(length + 1);
  memcpy(text, bytes, length);
  text[length] = 0;
  environment = text;
  char *body = strstr(text, "\n\n");
  input = (const uint8_t *)(body ? body + 2 : text + length);
  input_length = length - (size_t)((const char *)input - text);
  read_config();
  choose_version();
  choose_path("socket", "POLDER_SOCKET", DEFAULT_SOCKET, socket_path, sizeof socket_path, SOCKET_BYTES_MAX);
  choose_path("spool", "POLDER_SPOOL", DEFAULT_SPOOL, spool_path, sizeof spool_path, SPOOL_BYTES_MAX);
  char head[HEAD_BYTES_MAX];
  swallow(head, build_head(head, sizeof head));
  const char *container_id = from_input("CNI_CONTAINERID"), *if_name = from_input("CNI_IFNAME");
  check_names(container_id, if_name);
  if (strchr(container_id, '/') || strchr(if_name, '/') || strlen(container_id) > CONTAINER_ID_BYTES_MAX) abort();
}

static void take_answer(const uint8_t *bytes, size_t length) {
  const char *body = NULL;
  input = bytes, input_length = length;
  int status = exchange(-1, "", 0, &body);
  if (status == 0) return;
  if (is_answer(status)) deliver(status, body);
  else fail(IO_FAILURE, "polderd's socket gave an answer that is not CNI", body);
}

void take_input(const uint8_t *bytes, size_t length) {
  if (length < 2) return;
  config_length = answer_length = 0;
  environment = NULL;
  strcpy(cni_version, NEWEST_VERSION);
  step = bytes[1] ? (size_t)bytes[1] * 16 : 1 << 20;
  if (setjmp(over) == 0) bytes[0] & 1 ? take_answer(bytes + 2, length - 2) : take_call(bytes + 2, length - 2);
  free(environment);
}
