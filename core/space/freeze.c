/*
 * Freezing: the blocks of default placement become those of an arena in which nothing moves and nobody allocates.
 *
 * A trace marks their objects in the side bitmap and does not write into them, unless they refer to something that has
 * moved; so the pages of a frozen block stay shared between a process and its children [design: freeze].
 */
#include "core/object/walk.h"
#include "core/space/spaces.h"

/* The tables for the copy space's blocks: in arenas they are there. False: no memory. */
static bool freeze_cover(tsr_heap *heap) {
  const block_map *map = &heap->blocks;
  bool covered = true;
  os_mutex_lock(&heap->admission);
  for (uint32_t i = heap->spaces->copy.to.first; covered && i != BLOCK_NONE;
       i = block_map_at(map, i)->next)
    covered = object_bits_cover(&heap->bits, i, MEMORY_WITHIN_LIMIT);
  os_mutex_unlock(&heap->admission);
  return covered;
}

/* Sets the start bits of a block's objects. False: there are none. */
static bool freeze_mark_starts(const tsr_heap *heap, uint32_t index) {
  const block_map *map = &heap->blocks;
  uintptr_t start = block_map_start(map, index), at = start;
  uintptr_t end = start + block_map_at(map, index)->top_bytes;
  bool found = false;
  while ((at = object_walk_next(at, end)) < end) {
    object_bit_set(heap->bits.starts, object_bit_index(&heap->bits, at));
    at += object_walk_bytes(heap, (tsr_ref)at);
    found = true;
  }
  return found;
}

static void freeze_copy_space(tsr_heap *heap) {
  block_map *map = &heap->blocks;
  copy_space *copy = &heap->spaces->copy;
  uint32_t index = copy->to.first;
  bump_blocks_reset(&copy->to, copy->to.space);
  /* Those that were to grow by a hash will not move any more. */
  os_atomic_store(&copy->hash_bytes, 0);
  while (index != BLOCK_NONE) {
    uint32_t next = block_map_at(map, index)->next;
    if (freeze_mark_starts(heap, index)) {
      arena_take_over(&heap->spaces->arenas[ARENA_FROZEN], index);
    } else {
      block_map_release(map, index, 1);
    }
    index = next;
  }
}

bool spaces_freeze(tsr_heap *heap) {
  arena *arenas = heap->spaces->arenas;
  if (!freeze_cover(heap)) return false;
  freeze_copy_space(heap);
  spaces_retire_blocks(heap);
  arena_take_over_all(&arenas[ARENA_FROZEN], &arenas[ARENA_MOVABLE]);
  arena_take_over_all(&arenas[ARENA_FROZEN], &arenas[ARENA_PROMOTED]);
  arena_take_over_all(&arenas[ARENA_FROZEN], &arenas[ARENA_LEAVES]);
  return true;
}
