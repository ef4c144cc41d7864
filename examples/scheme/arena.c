/* arena.c: chunks in a list, filled from front to back. */
#include "arena.h"
#include "vm.h"
#include <stdlib.h>
#include <string.h>

struct arena_chunk {
  struct arena_chunk *next;
  max_align_t data[];
};

enum { CHUNK_BYTES = 16384 };

static void add_chunk(struct arena *arena, size_t bytes) {
  if (bytes < CHUNK_BYTES) bytes = CHUNK_BYTES;
  struct arena_chunk *chunk = calloc(1, sizeof *chunk + bytes);
  if (chunk == NULL) native_memory_exhausted();
  chunk->next = arena->chunks;
  arena->chunks = chunk;
  arena->next = (char *)chunk->data;
  arena->end = arena->next + bytes;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size) {
  if (count > SIZE_MAX / 2 / size) native_memory_exhausted();
  size_t align = sizeof(max_align_t);
  size_t bytes = (count * size + align - 1) / align * align;
  if (arena->next == NULL || (size_t)(arena->end - arena->next) < bytes) add_chunk(arena, bytes);
  void *memory = arena->next;
  arena->next += bytes;
  return memory;
}

void *arena_grow(struct arena *arena, void *items, unsigned count, size_t size,
                 unsigned *capacity) {
  *capacity = *capacity == 0 ? 4 : *capacity * 2;
  void *bigger = arena_alloc(arena, *capacity, size);
  if (count > 0) memcpy(bigger, items, count * size);
  return bigger;
}

void arena_reset(struct arena *arena) {
  while (arena->chunks != NULL) {
    struct arena_chunk *chunk = arena->chunks;
    arena->chunks = chunk->next;
    free(chunk);
  }
  arena->next = arena->end = NULL;
}
