/*
 * Opening, closing, releasing and walking the spaces of a heap.
 */
#include "core/space/spaces.h"

#include "core/space/seal.h"

tsr_status spaces_open(tsr_heap *heap, tsr_error *error) {
  struct spaces *all = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *all);
  if (all == NULL) goto no_memory;
  if (!copy_space_open(&all->copy, heap)) goto no_copy;
  unsigned opened = 0;
  while (opened < ARENAS && arena_open(&all->arenas[opened], heap, (enum arena_id)opened))
    opened++;
  if (opened < ARENAS) goto no_arena;
  large_space_open(&all->large, heap);
  if (!compaction_open(&all->compaction, heap)) goto no_arena;
  if (!slide_open(&all->slide, &all->compaction)) goto no_slide;
  heap->spaces = all;
  heap->blocks.range.divide = spaces_divide;
  heap->blocks.range.owner = heap;
  return TSR_OK;

no_slide:
  compaction_close(&all->compaction);
no_arena:
  while (opened > 0)
    arena_close(&all->arenas[--opened]);
  copy_space_close(&all->copy);
no_copy:
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
no_memory:
  return heap_no_memory(heap, error);
}

void spaces_close(tsr_heap *heap) {
  struct spaces *all = heap->spaces;
  slide_close(&all->slide);
  compaction_close(&all->compaction);
  for (unsigned i = 0; i < ARENAS; i++)
    arena_close(&all->arenas[i]);
  copy_space_close(&all->copy);
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
  heap->spaces = NULL;
}

size_t spaces_marked_blocks(const tsr_heap *heap) {
  size_t blocks = large_space_blocks(&heap->spaces->large);
  for (unsigned i = 0; i < ARENAS; i++)
    blocks += arena_blocks(&heap->spaces->arenas[i]);
  return blocks;
}

void spaces_begin_release(tsr_heap *heap) {
  large_space_release(&heap->spaces->large);
  for (unsigned i = 0; i < ARENAS; i++) {
    arena *a = &heap->spaces->arenas[i];
    if (i == ARENA_MOVABLE) continue;
    arena_begin_sweep(a);
    while (a->sealable && arena_sweep_next(a)) { /* its pages are closed in the same pause */
    }
  }
  os_atomic8_store(&heap->sweeping_is_on, 1);
  seal_close_again(heap);
}

uint32_t spaces_sweep_some(tsr_heap *heap, uint32_t most) {
  uint32_t swept = 0;
  for (unsigned i = 0; i < ARENAS; i++) {
    while (swept < most && arena_sweep_next(&heap->spaces->arenas[i]))
      swept++;
  }
  return swept;
}

void spaces_sweep_all(tsr_heap *heap) {
  if (heap_is_sweeping(heap)) spaces_sweep_some(heap, UINT32_MAX);
}

size_t spaces_finish_release(tsr_heap *heap) {
  spaces_sweep_all(heap);
  os_atomic8_store(&heap->sweeping_is_on, 0);
  size_t live_bytes = heap->spaces->large.live_bytes;
  for (unsigned i = 0; i < ARENAS; i++)
    live_bytes += arena_live_bytes(&heap->spaces->arenas[i]);
  return live_bytes;
}

size_t spaces_since_sweep_bytes(const tsr_heap *heap) {
  size_t bytes = 0;
  for (unsigned i = 0; i < ARENAS; i++) {
    const arena *a = &heap->spaces->arenas[i];
    size_t taken = arena_blocks(a) * BLOCK_BYTES - arena_free_bytes(a);
    if (taken > arena_live_bytes(a)) bytes += taken - arena_live_bytes(a);
  }
  return bytes;
}

size_t spaces_release_staying(tsr_heap *heap) {
  spaces_begin_release(heap);
  return spaces_finish_release(heap);
}

void spaces_clear_marks(tsr_heap *heap) {
  large_space_clear_marks(&heap->spaces->large);
  for (unsigned i = 0; i < ARENAS; i++) {
    if (i != ARENA_MOVABLE) arena_clear_marks(&heap->spaces->arenas[i]);
  }
}

void spaces_retire_blocks(tsr_heap *heap) {
  arena_retire_blocks(&heap->spaces->arenas[ARENA_MOVABLE]);
  arena_retire_blocks(&heap->spaces->arenas[ARENA_PROMOTED]);
}

void spaces_mix_leaves(tsr_heap *heap) {
  arena *arenas = heap->spaces->arenas;
  arena_take_over_all(&arenas[ARENA_PROMOTED], &arenas[ARENA_LEAVES]);
}

void spaces_look_into_leaves(tsr_heap *heap, tsr_ref leaf) {
  unsigned char *spaces = block_map_spaces(&heap->blocks);
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)leaf);
  if (block_space_begins_large((enum block_space)spaces[index]))
    large_space_look_into(&heap->spaces->large, leaf);
  if (spaces[index] != BLOCK_LEAVES) return;
  os_atomic8_store(&spaces[index], BLOCK_ARENA);
  heap->spaces->looks_into_leaves = true;
}

void spaces_pass_by_leaves(tsr_heap *heap) {
  if (!heap->spaces->looks_into_leaves) return;
  heap->spaces->looks_into_leaves = false;
  const block_map *map = &heap->blocks;
  for (uint32_t i = heap->spaces->arenas[ARENA_LEAVES].first; i != BLOCK_NONE;
       i = block_map_at(map, i)->next)
    os_atomic8_store(&block_map_spaces(map)[i], BLOCK_LEAVES);
}

void spaces_return_memory(tsr_heap *heap, bool is_idle) {
  block_map_end_collection(&heap->blocks, is_idle);
  if (heap->verifies)
    return; /* guards: each block is given back when it is freed, and soon in use again */
  object_bits_end_collection(&heap->bits, &heap->blocks);
  compaction_cut(&heap->spaces->compaction);
}

void spaces_enumerate(const tsr_heap *heap, tsr_object_callback callback, void *context) {
  bump_blocks_enumerate(&heap->spaces->copy.to, callback, context);
  for (unsigned i = 0; i < ARENAS; i++)
    arena_enumerate(&heap->spaces->arenas[i], callback, context);
  large_space_enumerate(&heap->spaces->large, callback, context);
}

void spaces_each_immortal(const tsr_heap *heap, void (*visit)(void *context, tsr_ref object),
                          void *context) {
  for (unsigned i = 0; i < ARENAS; i++) {
    const arena *a = &heap->spaces->arenas[i];
    if (a->immortal) arena_each_object(a, visit, context);
  }
  large_space_each_immortal(&heap->spaces->large, visit, context);
}

tsr_ref spaces_object_of(const tsr_heap *heap, uintptr_t address) {
  const block_map *map = &heap->blocks;
  uint32_t index = block_map_index(map, address);
  switch (block_map_space_of(map, address)) {
  case BLOCK_UNCOMMITTED:
  case BLOCK_FREE:
    return NULL;
  case BLOCK_LEAVES:
  case BLOCK_ARENA:
  case BLOCK_MOVABLE:
  case BLOCK_SEALED:
    return arena_object_of(spaces_arena_of(heap, address), address);
  case BLOCK_LARGE:
  case BLOCK_LARGE_YOUNG:
    return large_space_object_of(&heap->spaces->large, index, address);
  case BLOCK_LARGE_REST:
    return large_space_object_of(&heap->spaces->large, large_space_head(heap, index), address);
  default:
    return bump_blocks_object_of(heap, index, address);
  }
}

bool spaces_is_reached(const tsr_heap *heap, tsr_ref object) {
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)object);
  if (block_map_space(&heap->blocks, index) == BLOCK_LARGE) {
    return os_atomic8_is_set(&block_map_at(&heap->blocks, index)->reached);
  }
  return object_bit_get_shared(heap->bits.marks, object_bit_index(&heap->bits, (uintptr_t)object));
}

void spaces_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->spaces->copy.to.lock, stage);
  for (unsigned i = 0; i < ARENAS; i++)
    os_mutex_fork(&heap->spaces->arenas[i].lock, stage);
}
