/*
 * One direction of the relay: what may happen to a frame, and the queue of those on their way. A frame's fate is a pure
 * function of the seed, the direction, the frame's number and the fault, so that a run can be repeated, and a changed
 * setting of one fault leaves the others' choices as they were.
 */
#ifndef RELAY_DIRECTION_H
#define RELAY_DIRECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS 1000000ull

/* As a command names them; percentages, milliseconds, Mbit/s, frames. 0 is off, but for the queue. */
#define SETTINGS(X) \
  X(partition) X(loss) X(corrupt) X(garble) X(duplicate) X(reorder) X(hold) X(delay) X(jitter) X(rate) X(queue)
#define COUNTS(X) \
  X(received) X(delivered) X(bytes) X(lost) X(partitioned) X(overflowed) X(corrupted) X(garbled) X(duplicated) \
  X(reordered) X(refused)

struct settings {
#define X(name) double name;
  SETTINGS(X)
#undef X
};

struct counts {
#define X(name) uint64_t name;
  COUNTS(X)
#undef X
};

struct frame {
  uint64_t due_ns, number;
  size_t length;
  uint8_t bytes[];
};

struct direction {
  struct settings settings;
  struct counts counts;
  uint64_t seed, number, link_free_ns, last_due_ns;
  /* A heap: the frame that is due first, of two that are due together the earlier one. */
  struct frame **waiting;
  size_t waiting_count, waiting_room;
};

enum { DEFAULT_QUEUE_FRAMES = 1000 };

/* Takes a frame in: it is dropped, or waits until it is due, changed or not, once or twice. */
void take(struct direction *direction, const uint8_t *bytes, size_t length, uint64_t now_ns);
/* The frame that is due first, or NULL. */
struct frame *first(const struct direction *direction);
/* Takes it out; the caller frees it. */
struct frame *pop(struct direction *direction);

#endif
