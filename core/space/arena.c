/*
 * The arena space.
 */
#include "core/space/arena.h"

bool arena_space_open(arena_space *space, tsr_heap *heap) {
  return bump_blocks_open(&space->blocks, heap, BLOCK_ARENA);
}

void arena_space_close(arena_space *space) {
  bump_blocks_close(&space->blocks);
}
