/*
 * nogc: allocates and never collects. For measuring a VM without a collector, for programs that end
 * before their memory does, and for VMs whose objects cannot move.
 *
 * Default placement bumps in an arena; large objects have runs of their own. When the maximum is
 * reached, allocation reports out of memory.
 */
#include "barriers/barriers.h"
#include "core/heap/plan.h"
#include "core/space/spaces.h"

static size_t nogc_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                    size_t large_blocks) {
  return arena_space_blocks(&heap->spaces->arena) + large_space_blocks(&heap->spaces->large) +
         default_blocks + large_blocks;
}

extern const struct plan plan_nogc;
const struct plan plan_nogc = {
    .name = "nogc",
    .summary = "never collects",
    .preference = 1,
    .offers = TSR_NEEDS_NON_MOVING,
    .default_space = PLAN_ARENA_SPACE,
    .least_blocks = 1,
    .allocators = {[TSR_DEFAULT] = TSR_ALLOCATOR_BUMP, [TSR_LARGE] = TSR_ALLOCATOR_CALL},
    .barrier = &barrier_none,
    .footprint_blocks = nogc_footprint_blocks};
