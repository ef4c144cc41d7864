/*
 * arena.h: native memory for one top-level form.
 *
 * Reader, expander and compiler build trees that live until the form has been compiled and then go
 * all at once. They hold no references to the Scheme heap: symbols are ids, constants are syntax.
 */
#ifndef SCHEME_ARENA_H
#define SCHEME_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
  struct arena_chunk *chunks;
  char *next, *end;
};

/** Zeroed memory, aligned for anything. Exits the process where the system has none left. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);
/** Frees everything. A zeroed arena is an empty one. */
void arena_reset(struct arena *arena);

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), 1, sizeof(type)))

/** A growing array in an arena: items, count, capacity. */
#define ARENA_PUSH(arena, list, item)                                                              \
  do {                                                                                             \
    if ((list).count == (list).capacity) {                                                         \
      (list).items =                                                                               \
          arena_grow((arena), (list).items, (list).count, sizeof *(list).items, &(list).capacity); \
    }                                                                                              \
    (list).items[(list).count++] = (item);                                                         \
  } while (0)

void *arena_grow(struct arena *arena, void *items, unsigned count, size_t size, unsigned *capacity);

#endif
