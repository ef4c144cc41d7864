/*
 * The arena space: blocks whose objects never move. In this version its objects are never freed
 * either, which is what `nogc` asks for; they can be walked.
 */
#ifndef CORE_SPACE_ARENA_H
#define CORE_SPACE_ARENA_H

#include "core/space/bump_blocks.h"

typedef struct arena_space {
  bump_blocks blocks;
} arena_space;

bool arena_space_open(arena_space *space, tsr_heap *heap);
void arena_space_close(arena_space *space);

static inline size_t arena_space_blocks(const arena_space *space) {
  return bump_blocks_count(&space->blocks);
}

#endif
