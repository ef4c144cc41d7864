/*
 * The large space.
 */
#include "core/space/large.h"

#include <string.h>

#include "core/object/walk.h"
#include "core/os/watch.h"
#include "core/space/seal.h"

void large_space_open(large_space *space, tsr_heap *heap) {
  *space = (large_space){.heap = heap, .first = BLOCK_NONE, .first_old = BLOCK_NONE};
}

/* ---- allocation -------------------------------------------------------------------------------- */

/* Blocks are aligned to more than any object may ask for, so only the offset needs padding. */
static size_t large_padding(size_t align, size_t offset) {
  return (size_t)-offset & (align - 1);
}

size_t large_space_blocks_for(size_t bytes, size_t align, size_t offset) {
  size_t padding = large_padding(align, offset);
  if (bytes > SIZE_MAX - padding - (BLOCK_BYTES - 1)) return 0;
  size_t blocks = (padding + bytes + (BLOCK_BYTES - 1)) >> BLOCK_SHIFT;
  return blocks < BLOCK_NONE ? blocks : 0;
}

/* Zeroes an object's part of those blocks that were used before. */
static void large_zero(const block_map *map, uint32_t first, uintptr_t object, size_t bytes) {
  uintptr_t end = object + bytes;
  for (uint32_t i = first; block_map_start(map, i) < end; i++) {
    if ((block_map_at(map, i)->flags & BLOCK_CLEAN) != 0) continue;
    uintptr_t from = i == first ? object : block_map_start(map, i);
    uintptr_t to = block_map_start(map, i) + BLOCK_BYTES;
    memset((void *)from, 0, (to < end ? to : end) - from);
  }
}

/* What is a root, or has pages that may be sealed, is old from the beginning. */
static bool large_kind_is_young(const tsr_heap *heap, large_kind kind) {
  return heap_form(heap)->generational && !kind.immortal && !kind.sealable;
}

bool large_space_is_due(const large_space *space, size_t blocks) {
  size_t young = large_space_young_blocks(space);
  return young > 0 && young + blocks > nursery_large_blocks(space->heap);
}

static uint32_t large_space_acquire(large_space *space, size_t blocks, size_t padding,
                                    large_kind kind, memory_allowance allowance) {
  bool young = large_kind_is_young(space->heap, kind);
  if (young && allowance == MEMORY_WITHIN_SIZE && large_space_is_due(space, blocks)) {
    return BLOCK_NONE;
  }
  uint32_t first = heap_acquire_staying(space->heap, (uint32_t)blocks,
                                        young ? BLOCK_LARGE_YOUNG : BLOCK_LARGE, allowance);
  if (first == BLOCK_NONE) return BLOCK_NONE;
  block *head = block_map_at(&space->heap->blocks, first);
  head->top_bytes = (uint32_t)padding;
  head->flags |=
      (uint8_t)((kind.immortal ? BLOCK_IMMORTAL : 0) | (kind.sealable ? BLOCK_SEALABLE : 0));
  head->code_pages = kind.code;
  if (young) {
    os_atomic_store(&space->young_blocks, large_space_young_blocks(space) + blocks);
  } else {
    heap_note_born(space->heap, first);
  }
  for (uint32_t i = first + 1; i < first + (uint32_t)blocks; i++)
    block_map_at(&space->heap->blocks, i)->run_next = first;
  head->next = space->first;
  space->first = first;
  os_atomic_store(&space->blocks, large_space_blocks(space) + blocks);
  return first;
}

uintptr_t large_space_allocate(large_space *space, size_t bytes, size_t align, size_t offset,
                               large_kind kind, memory_allowance allowance) {
  size_t blocks = large_space_blocks_for(bytes, align, offset);
  if (blocks == 0) return 0;
  os_mutex_lock(&space->heap->admission);
  uint32_t first =
      large_space_acquire(space, blocks, large_padding(align, offset), kind, allowance);
  os_mutex_unlock(&space->heap->admission);
  if (first == BLOCK_NONE) return 0;
  uintptr_t object = (uintptr_t)large_space_object(space, first);
  os_memory_allow(object, object + bytes);
  large_zero(&space->heap->blocks, first, object, bytes);
  return object;
}

void large_space_add_slot_bits(large_space *space, tsr_ref object) {
  tsr_heap *heap = space->heap;
  uint32_t first = block_map_index(&heap->blocks, (uintptr_t)object);
  block *head = block_map_at(&heap->blocks, first);
  bool covered = true;
  os_mutex_lock(&heap->admission);
  for (uint32_t i = first; covered && i < first + head->run_blocks; i++)
    covered = object_bits_cover(&heap->bits, i, MEMORY_WITHIN_LIMIT);
  os_mutex_unlock(&heap->admission);
  if (!covered) return;
  head->flags |= BLOCK_SLOTTED;
  if (block_map_space(&heap->blocks, first) != BLOCK_LARGE_YOUNG) return;
  if (head->run_blocks < LARGE_ARMED_BYTES / BLOCK_BYTES) return;
  head->flags |= BLOCK_BORN_ARMED;
  header_set_gc_bits(object, GC_ARMED);
}

static block *large_head(const large_space *space, tsr_ref object) {
  const block_map *map = &space->heap->blocks;
  return block_map_at(map, block_map_index(map, (uintptr_t)object));
}

void large_space_note_leaf(large_space *space, tsr_ref object) {
  large_head(space, object)->flags |= BLOCK_LEAF;
}

bool large_space_is_leaf(const large_space *space, tsr_ref object) {
  return (large_head(space, object)->flags & BLOCK_LEAF) != 0;
}

void large_space_look_into(large_space *space, tsr_ref object) {
  large_head(space, object)->flags &= (uint8_t)~BLOCK_LEAF;
}

bool large_space_is_armed_young(const large_space *space, tsr_ref object) {
  const block_map *map = &space->heap->blocks;
  if (block_map_space_of(map, (uintptr_t)object) != BLOCK_LARGE_YOUNG) return false;
  uint32_t first = block_map_index(map, (uintptr_t)object);
  return (block_map_at(map, first)->flags & BLOCK_BORN_ARMED) != 0;
}

tsr_ref large_space_object(const large_space *space, uint32_t first) {
  const block_map *map = &space->heap->blocks;
  return (tsr_ref)(block_map_start(map, first) + block_map_at(map, first)->top_bytes);
}

tsr_ref large_space_object_of(const large_space *space, uint32_t first, uintptr_t address) {
  tsr_ref object = large_space_object(space, first);
  if (address < (uintptr_t)object || header_load(object) == 0) return NULL;
  size_t bytes = object_walk_bytes_within(space->heap, object, large_space_room(space, object));
  return address - (uintptr_t)object < bytes ? object : NULL;
}

size_t large_space_room(const large_space *space, tsr_ref object) {
  const block_map *map = &space->heap->blocks;
  const block *head = block_map_at(map, block_map_index(map, (uintptr_t)object));
  return (size_t)head->run_blocks * BLOCK_BYTES - head->top_bytes;
}

/* Of a run that begins with this block, so many blocks are given back. */
static void large_space_count_out(large_space *space, uint32_t first, uint32_t blocks) {
  os_atomic_store(&space->blocks, large_space_blocks(space) - blocks);
  if (block_map_space(&space->heap->blocks, first) == BLOCK_LARGE_YOUNG) {
    os_atomic_store(&space->young_blocks, large_space_young_blocks(space) - blocks);
  }
}

void large_space_shrink(large_space *space, tsr_ref object, size_t bytes) {
  block_map *map = &space->heap->blocks;
  uint32_t first = block_map_index(map, (uintptr_t)object);
  block *head = block_map_at(map, first);
  uint32_t kept = (uint32_t)((head->top_bytes + bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT);
  uint32_t dropped = head->run_blocks - kept;
  os_memory_forbid((uintptr_t)object + bytes, block_map_start(map, first + kept));
  if (dropped == 0) return;
  os_mutex_lock(&space->heap->admission);
  head->run_blocks = kept;
  large_space_count_out(space, first, dropped);
  block_map_release(map, first + kept, dropped);
  os_mutex_unlock(&space->heap->admission);
}

/* ---- trace ------------------------------------------------------------------------------------ */

void large_space_read_whole(large_space *space, tsr_ref object) {
  const block_map *map = &space->heap->blocks;
  if (!large_space_is_armed_young(space, object)) return;
  uint32_t first = block_map_index(map, (uintptr_t)object);
  block_map_at(map, first)->flags &= (uint8_t)~BLOCK_BORN_ARMED;
}

void large_space_prepare_young(large_space *space) {
  const block_map *map = &space->heap->blocks;
  for (uint32_t i = space->first; i != space->first_old; i = block_map_at(map, i)->next) {
    tsr_ref object = large_space_object(space, i);
    if (large_space_is_armed_young(space, object) && !header_is_armed(header_load(object)))
      large_space_read_whole(space, object);
  }
}

bool large_space_reach(large_space *space, tsr_ref object, bool shared) {
  const block_map *map = &space->heap->blocks;
  uint32_t index = block_map_index(map, (uintptr_t)object);
  block *b = block_map_at(map, index);
  if (os_atomic8_is_set(&b->reached)) return false;
  if (large_space_object(space, index) != object) return false;
  if (!shared) {
    os_atomic8_set(&b->reached);
  } else if (!os_atomic8_set_first(&b->reached)) {
    return false;
  }
  if ((b->flags & BLOCK_LEAF) != 0) return true;
  size_t room = large_space_room(space, object);
  HEAP_ALWAYS_CHECK(
      space->heap,
      object_walk_bytes_by(space->heap, object, header_load_shared(object), room) <= room, object,
      "a reachable object's size runs past its blocks: its length was overwritten");
  return true;
}

/* Whoever sees that it is old sees that it was reached, and does not reach it as an old one. */
bool large_space_promote(large_space *space, tsr_ref object, bool shared) {
  block_map *map = &space->heap->blocks;
  uint32_t index = block_map_index(map, (uintptr_t)object);
  if (large_space_object(space, index) != object) return false;
  bool is_first = large_space_reach(space, object, shared);
  block_map_change(map, index, BLOCK_LARGE);
  return is_first;
}

void large_space_promote_all(large_space *space) {
  block_map *map = &space->heap->blocks;
  for (uint32_t i = space->first; i != space->first_old; i = block_map_at(map, i)->next) {
    if (block_map_space(map, i) != BLOCK_LARGE_YOUNG) continue;
    block_map_change(map, i, BLOCK_LARGE);
  }
  space->first_old = space->first;
  os_atomic_store(&space->young_blocks, 0);
}

void large_space_clear_marks(large_space *space) {
  const block_map *map = &space->heap->blocks;
  for (uint32_t i = space->first; i != BLOCK_NONE; i = block_map_at(map, i)->next)
    block_map_at(map, i)->reached = 0;
}

/* ---- release ------------------------------------------------------------------------------------ */

/* The object of the list that a link leads to. */
static void large_space_free(large_space *space, uint32_t *link) {
  block_map *map = &space->heap->blocks;
  uint32_t index = *link;
  const block *b = block_map_at(map, index);
  uint32_t run = b->run_blocks;
  *link = b->next;
  large_space_count_out(space, index, run);
  block_map_release(map, index, run);
}

void large_space_release(large_space *space) {
  const block_map *map = &space->heap->blocks;
  space->live_bytes = 0;
  uint32_t *link = &space->first;
  while (*link != BLOCK_NONE) {
    block *b = block_map_at(map, *link);
    tsr_ref object = large_space_object(space, *link);
    if (b->reached != 0) {
      b->reached = 0;
      b->rescan = 0;
      space->live_bytes += object_walk_bytes(space->heap, object);
      link = &b->next;
    } else {
      seal_open_reached(space->heap, object);
      large_space_free(space, link);
    }
  }
  space->first_old = space->first;
}

void large_space_release_young(large_space *space) {
  block_map *map = &space->heap->blocks;
  bool marks = heap_is_marking(space->heap);
  uint32_t *link = &space->first;
  while (*link != space->first_old) {
    block *b = block_map_at(map, *link);
    if (block_map_space(map, *link) == BLOCK_LARGE_YOUNG) {
      block_map_rewind(map, *link);
      large_space_free(space, link);
    } else {
      if (!marks) b->reached = 0;
      link = &b->next;
    }
  }
  space->first_old = space->first;
  os_atomic_store(&space->young_blocks, 0);
}

void large_space_enumerate(const large_space *space, tsr_object_callback callback, void *context) {
  const block_map *map = &space->heap->blocks;
  for (uint32_t i = space->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    tsr_ref object = large_space_object(space, i);
    callback(context, object, object_walk_bytes(space->heap, object));
  }
}

void large_space_each_immortal(const large_space *space,
                               void (*visit)(void *context, tsr_ref object), void *context) {
  const block_map *map = &space->heap->blocks;
  for (uint32_t i = space->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    if ((block_map_at(map, i)->flags & BLOCK_IMMORTAL) == 0) continue;
    visit(context, large_space_object(space, i));
  }
}
