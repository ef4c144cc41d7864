/*
 * Blocks filled from the bottom.
 */
#include "core/space/bump_blocks.h"

#include <string.h>

#include "core/object/walk.h"
#include "core/os/watch.h"

/* A rest of a block smaller than this goes with the buffer before it. */
#define BUFFER_LEAST_REST 256

static void bump_blocks_check(const bump_blocks *blocks) {
#ifdef TSR_CHECKS
  const block_map *map = &blocks->heap->blocks;
  uint32_t count = 0;
  for (uint32_t i = blocks->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    TSR_CHECK(block_map_spaces(map)[i] == blocks->space,
              "a block in a space's list is the space's");
    TSR_CHECK(block_map_at(map, i)->top_bytes <= BLOCK_BYTES, "a block's top lies in the block");
    count++;
  }
  TSR_CHECK(count == bump_blocks_count(blocks), "a space counts its blocks");
#else
  (void)blocks;
#endif
}

bool bump_blocks_open(bump_blocks *blocks, tsr_heap *heap, enum block_space space) {
  *blocks = (bump_blocks){.heap = heap};
  bump_blocks_reset(blocks, space);
  return os_mutex_create(&blocks->lock);
}

void bump_blocks_close(bump_blocks *blocks) {
  os_mutex_destroy(&blocks->lock);
}

static void bump_blocks_link(bump_blocks *blocks, uint32_t index) {
  block_map_at(&blocks->heap->blocks, index)->next = blocks->first;
  blocks->first = index;
  os_atomic_store(&blocks->count, bump_blocks_count(blocks) + 1);
}

void bump_blocks_adopt(bump_blocks *blocks, uint32_t index) {
  block_map_spaces(&blocks->heap->blocks)[index] = (unsigned char)blocks->space;
  bump_blocks_link(blocks, index);
}

void bump_blocks_reset(bump_blocks *blocks, enum block_space space) {
  blocks->space = space;
  blocks->first = BLOCK_NONE;
  blocks->current = BLOCK_NONE;
  os_atomic_store(&blocks->count, 0);
}

uint32_t bump_blocks_add(bump_blocks *blocks, memory_allowance allowance) {
  uint32_t index = block_map_acquire(&blocks->heap->blocks, 1, blocks->space, allowance);
  if (index != BLOCK_NONE) bump_blocks_link(blocks, index);
  return index;
}

static size_t bump_blocks_rest(const bump_blocks *blocks) {
  if (blocks->current == BLOCK_NONE) return 0;
  return BLOCK_BYTES - block_map_at(&blocks->heap->blocks, blocks->current)->top_bytes;
}

/* A new block, if the heap admits it or may pass its maximum. */
static uint32_t bump_blocks_admit(bump_blocks *blocks, memory_allowance allowance) {
  tsr_heap *heap = blocks->heap;
  os_mutex_lock(&heap->admission);
  bool admitted = heap_admits(heap, 1, 0, allowance);
  uint32_t index = admitted ? bump_blocks_add(blocks, allowance) : BLOCK_NONE;
  os_mutex_unlock(&heap->admission);
  return index;
}

/*
 * A block with so many bytes left: the current one, or a new one, which is the current one from then on unless it is
 * wanted as a whole. The rest of a block that a collection left half full is no free gift: a heap that came out of the
 * collection larger than it may be would grow by such a rest with each one.
 */
static uint32_t bump_blocks_find(bump_blocks *blocks, size_t least, memory_allowance allowance) {
  if (bump_blocks_rest(blocks) >= least) {
    return heap_admits(blocks->heap, 0, 0, allowance) ? blocks->current : BLOCK_NONE;
  }
  uint32_t index = bump_blocks_admit(blocks, allowance);
  if (index != BLOCK_NONE && least < BLOCK_BYTES) blocks->current = index;
  return index;
}

static bump_buffer bump_blocks_carve(const bump_blocks *blocks, uint32_t index, size_t preferred) {
  block_map *map = &blocks->heap->blocks;
  block *b = block_map_at(map, index);
  size_t rest = BLOCK_BYTES - b->top_bytes;
  size_t bytes = rest < preferred + BUFFER_LEAST_REST ? rest : preferred;
  uintptr_t start = block_map_start(map, index) + b->top_bytes;
  b->top_bytes += (uint32_t)bytes;
  return (bump_buffer){.start = start, .end = start + bytes};
}

bool bump_blocks_take(bump_blocks *blocks, size_t least, size_t preferred,
                      memory_allowance allowance, bump_buffer *taken) {
  bool clean = false;
  os_mutex_lock(&blocks->lock);
  uint32_t index = bump_blocks_find(blocks, least, allowance);
  if (index != BLOCK_NONE) {
    *taken = bump_blocks_carve(blocks, index, preferred < least ? least : preferred);
    clean = (block_map_at(&blocks->heap->blocks, index)->flags & BLOCK_CLEAN) != 0;
  }
  os_mutex_unlock(&blocks->lock);
  if (index == BLOCK_NONE) return false;
  bump_buffer_count(blocks->heap, *taken);
  os_memory_allow(taken->start, taken->end);
  /* The buffer is this mutator's alone now: zero it outside the lock. */
  if (!clean) memset((void *)taken->start, 0, taken->end - taken->start);
  return true;
}

void bump_blocks_give_back(bump_blocks *blocks, bump_buffer unused) {
  block_map *map = &blocks->heap->blocks;
  uint32_t index = block_map_index(map, unused.start);
  TSR_CHECK(unused.end - unused.start == BLOCK_BYTES, "what is given back is a whole block");
  os_mutex_lock(&blocks->lock);
  uint32_t *link = &blocks->first;
  while (*link != index)
    link = &block_map_at(map, *link)->next;
  *link = block_map_at(map, index)->next;
  if (blocks->current == index) blocks->current = BLOCK_NONE;
  os_atomic_store(&blocks->count, bump_blocks_count(blocks) - 1);
  os_mutex_unlock(&blocks->lock);
  block_map_release(map, index, 1);
}

void bump_blocks_enumerate(const bump_blocks *blocks, tsr_object_callback callback, void *context) {
  bump_blocks_check(blocks);
  const tsr_heap *heap = blocks->heap;
  for (uint32_t i = blocks->first; i != BLOCK_NONE; i = block_map_at(&heap->blocks, i)->next) {
    uintptr_t at = block_map_start(&heap->blocks, i);
    object_walk(heap, at, at + block_map_at(&heap->blocks, i)->top_bytes, callback, context);
  }
}

tsr_ref bump_blocks_object_of(const tsr_heap *heap, uint32_t index, uintptr_t address) {
  const block_map *map = &heap->blocks;
  uintptr_t at = block_map_start(map, index);
  uintptr_t end = at + block_map_at(map, index)->top_bytes;
  return object_walk_find(heap, at, end, address);
}
