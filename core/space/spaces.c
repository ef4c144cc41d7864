/*
 * Opening, closing and walking the spaces of a heap.
 */
#include "core/space/spaces.h"

tsr_status spaces_open(tsr_heap *heap, tsr_error *error) {
  struct spaces *all = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *all);
  if (all == NULL) goto no_memory;
  if (!copy_space_open(&all->copy, heap)) goto no_copy;
  if (!arena_space_open(&all->arena, heap)) goto no_arena;
  large_space_open(&all->large, heap);
  heap->spaces = all;
  return TSR_OK;

no_arena:
  copy_space_close(&all->copy);
no_copy:
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
no_memory:
  return heap_no_memory(heap, error);
}

void spaces_close(tsr_heap *heap) {
  struct spaces *all = heap->spaces;
  arena_space_close(&all->arena);
  copy_space_close(&all->copy);
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
  heap->spaces = NULL;
}

void spaces_enumerate(const tsr_heap *heap, tsr_object_callback callback, void *context) {
  bump_blocks_enumerate(&heap->spaces->copy.to, callback, context);
  bump_blocks_enumerate(&heap->spaces->arena.blocks, callback, context);
  large_space_enumerate(&heap->spaces->large, callback, context);
}
