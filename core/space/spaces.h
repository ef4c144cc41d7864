/*
 * The spaces of a heap. A plan says which of them it uses; the others stay empty.
 */
#ifndef CORE_SPACE_SPACES_H
#define CORE_SPACE_SPACES_H

#include "core/space/arena.h"
#include "core/space/copy.h"
#include "core/space/large.h"

struct spaces {
  copy_space copy;
  arena_space arena;
  large_space large;
};

/* Builds heap->spaces. */
tsr_status spaces_open(tsr_heap *heap, tsr_error *error);
void spaces_close(tsr_heap *heap);

/* The blocks that serve default placement under the heap's plan. */
static inline bump_blocks *spaces_default(const tsr_heap *heap) {
  return heap->plan->default_space == PLAN_COPY_SPACE ? &heap->spaces->copy.to
                                                      : &heap->spaces->arena.blocks;
}

/* Calls back for every object of every space. World stopped. */
void spaces_enumerate(const tsr_heap *heap, tsr_object_callback callback, void *context);

#endif
