/*
 * The loop around one C target: inputs come on stdin (length as 32 bits, then the bytes), and for each the number of
 * edges of code goes to stdout that no input before it took (32 bits). A sanitizer that finds something ends the process
 * and says what on stderr.
 *
 * gcc calls __sanitizer_cov_trace_pc at every basic block of what is compiled with -fsanitize-coverage=trace-pc; this
 * file is not. An edge is where one block follows another, by a hash of both.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void take_input(const uint8_t *bytes, size_t length);

enum { EDGES = 1 << 16, INPUT_BYTES_MAX = 1 << 20 };
static uint8_t known[EDGES], now[EDGES];
static uintptr_t previous;

void __sanitizer_cov_trace_pc(void) {
  uintptr_t here = (uintptr_t)__builtin_return_address(0);
  uintptr_t edge = (here * 0x9e3779b1u >> 8 ^ previous) % EDGES;
  now[edge] = 1;
  previous = (here * 0x9e3779b1u >> 8) >> 1;
}

static int read_whole(void *out, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t got = read(STDIN_FILENO, (char *)out + done, length - done);
    if (got <= 0) return 0;
    done += (size_t)got;
  }
  return 1;
}

int main(void) {
  uint32_t length;
  while (read_whole(&length, sizeof length)) {
    /* As long as the input, so that one byte more is one too many. */
    uint8_t *bytes = malloc(length ? length : 1);
    if (length > INPUT_BYTES_MAX || !read_whole(bytes, length)) return 2;
    previous = 0;
    for (unsigned i = 0; i < EDGES; i++) now[i] = 0;
    take_input(bytes, length);
    free(bytes);
    uint32_t fresh = 0;
    for (unsigned i = 0; i < EDGES; i++)
      if (now[i] && !known[i]) known[i] = 1, fresh++;
    if (write(STDOUT_FILENO, &fresh, sizeof fresh) != sizeof fresh) return 2;
  }
  return 0;
}
