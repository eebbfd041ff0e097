/*
 * The addon's sending half: batches of transmit descriptors as the data path may write them, through segmentation,
 * coalescing and the messages to peers. What would go to the kernel is read byte by byte instead, and every packet stands
 * alone between bytes that the sanitizer forbids.
 *
 * What the path has promised of a packet holds here too: it is parsed, so its headers are whole and its transport lies
 * within it. Everything else, the offload state above all, is the input's.
 */
#include "../../../daemon/nic/addon/addon.h"
#include "../../../daemon/nic/addon/dataplane.h"
#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

enum { PACKETS_MAX = 24, BLOCK_BYTES = 12, PACKET_BYTES_MAX = 62000, ROOM = 128, FORBIDDEN = 64 };

/* What talks to JavaScript is linked, and never called. */
bool arguments(napi_env env, napi_callback_info info, size_t want, napi_value *values) {
  (void)env, (void)info, (void)want, (void)values;
  abort();
}
bool int_argument(napi_env env, napi_value value, int32_t *out) {
  (void)env, (void)value, (void)out;
  abort();
}
bool bytes_argument(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  (void)env, (void)value, (void)data, (void)length;
  abort();
}
napi_value throw_errno(napi_env env, int error, const char *operation) {
  (void)env, (void)error, (void)operation;
  abort();
}
napi_value int_result(napi_env env, int32_t value) {
  (void)env, (void)value;
  abort();
}

static uint64_t seen;
static uint8_t refusals;

static void look(const struct iovec *vectors, size_t count) {
  for (size_t i = 0; i < count; i++)
    for (size_t at = 0; at < vectors[i].iov_len; at++) seen += ((const uint8_t *)vectors[i].iov_base)[at];
}

/* Refuses now and then, as kernels do: the fallbacks must be right too. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags) {
  (void)fd, (void)flags;
  look(header->msg_iov, header->msg_iovlen);
  size_t bytes = 0;
  for (size_t i = 0; i < header->msg_iovlen; i++) bytes += header->msg_iov[i].iov_len;
  if (bytes > 65507) abort();
  static const int errors[] = {0, EIO, EMSGSIZE, ECONNREFUSED};
  int error = header->msg_controllen || refusals & 4 ? errors[refusals & 3] : 0;
  if (!error) return (ssize_t)bytes;
  errno = error;
  return -1;
}

ssize_t __wrap_writev(int fd, const struct iovec *vectors, int count) {
  (void)fd;
  look(vectors, (size_t)count);
  return 1;
}

static struct dataplane *make_plane(void) {
  struct dataplane *plane = calloc(1, sizeof *plane);
  plane->peers = calloc(MAX_PEERS, sizeof *plane->peers);
  plane->messages = calloc(MESSAGES, sizeof *plane->messages);
  plane->headers = malloc(HEADER_POOL);
  plane->failures = calloc(FAIL_WORDS, 4);
  plane->sender_count = 2;
  for (int i = 0; i < 8; i++) plane->ports[i] = 1000 + i, plane->uso[i] = i & 1;
  plane->peers[0].address.ss_family = AF_INET;
  plane->peers[1].address.ss_family = AF_INET6;
  return plane;
}

static unsigned least_header(uint8_t first) { return first >> 4 == 6 ? 40 : 20; }

/* One packet of the batch: a block, then the bytes; what is missing up to its length is filled in. */
static size_t place(const uint8_t *bytes, size_t length, uint8_t *at, int32_t *descriptor) {
  unsigned given = bytes[10], whole = bytes[8] | (bytes[9] & 0xff) << 8;
  if (given > length - BLOCK_BYTES) given = (unsigned)(length - BLOCK_BYTES);
  if (whole < given) whole = given;
  if (whole > PACKET_BYTES_MAX) whole = PACKET_BYTES_MAX;
  memcpy(at, bytes + BLOCK_BYTES, given);
  memset(at + given, 0x11, whole - given);
  unsigned l4 = bytes[6], least = whole ? least_header(at[0]) : 0;
  descriptor[TX_PORT] = bytes[0] & 7;
  descriptor[TX_LENGTH] = (int32_t)whole;
  descriptor[TX_FLAGS] = (bytes[1] & 1) | (bytes[1] & 0xf0 ? (bytes[1] >> 4 & 7) << 8 : 0);
  descriptor[TX_GSO_SIZE] = bytes[2] | bytes[3] << 8;
  descriptor[TX_CSUM] = bytes[4] | bytes[5] << 16;
  descriptor[TX_PEER] = bytes[11] & 1;
  descriptor[TX_HASH] = bytes[11] >> 1 & 1;
  descriptor[TX_TOS] = bytes[11] >> 2 & 3;
  bool whole_headers = whole > least && l4 >= least && l4 + (bytes[7] == 6 ? 20u : 8u) <= whole;
  descriptor[TX_L4] = whole_headers ? (int32_t)(l4 | (unsigned)bytes[7] << 16) : 0;
  return BLOCK_BYTES + given;
}

void take_input(const uint8_t *bytes, size_t length) {
  static struct dataplane *plane;
  if (!plane) plane = make_plane();
  static int32_t descriptors[PACKETS_MAX][TX_WORDS];
  if (length < 1) return;
  refusals = bytes[0];
  size_t arena_bytes = 0, sizes[PACKETS_MAX];
  unsigned count = 0;
  static uint8_t scratch[PACKET_BYTES_MAX + 256];
  for (size_t at = 1; count < PACKETS_MAX && length - at >= BLOCK_BYTES; count++) {
    at += place(bytes + at, length - at, scratch, descriptors[count]);
    sizes[count] = (size_t)descriptors[count][TX_LENGTH];
    if (sizes[count] == 0) break;
    arena_bytes += ROOM + sizes[count] + FORBIDDEN;
  }
  uint8_t *arena = malloc(arena_bytes + 1);
  size_t at = 1, end = 0;
  for (unsigned i = 0; i < count; i++) {
    at += place(bytes + at, length - at, arena + end + ROOM, descriptors[i]);
    descriptors[i][TX_OFFSET] = (int32_t)(end + ROOM);
    /* Only the envelope's bytes before the packet are the packet's. */
    ASAN_POISON_MEMORY_REGION(arena + end, ROOM - ENCAP_BYTES - 10);
    end += ROOM + sizes[i];
    ASAN_POISON_MEMORY_REGION(arena + end, FORBIDDEN);
    end += FORBIDDEN;
  }
  plane->arena = arena;
  for (unsigned i = 0; i < count; i++) {
    if (descriptors[i][TX_PORT] == PORT_UNDERLAY) message_add(plane, descriptors[i]);
    else coalesce(plane, descriptors[i]);
  }
  aggregates_flush(plane);
  messages_flush(plane);
  ASAN_UNPOISON_MEMORY_REGION(arena, arena_bytes + 1);
  free(arena);
}
