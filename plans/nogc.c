/*
 * nogc: allocates and never collects. For measuring a VM without a collector, for programs that end
 * before their memory does, and for VMs whose objects cannot move and that have no write barrier.
 *
 * Default placement bumps in the blocks of the copy space, which nobody evacuates. When the maximum
 * is reached, allocation reports out of memory.
 */
#include "barriers/barriers.h"
#include "core/heap/plan.h"
#include "core/space/spaces.h"

static size_t nogc_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                    size_t staying_blocks) {
  return copy_space_blocks(&heap->spaces->copy) + spaces_marked_blocks(heap) + default_blocks +
         staying_blocks;
}

extern const struct plan plan_nogc;
const struct plan plan_nogc = {.name = "nogc",
                               .summary = "never collects",
                               .preference = 1,
                               .offers = TSR_NEEDS_NON_MOVING | TSR_NEEDS_AMBIGUOUS_ROOTS,
                               .least_blocks = 1,
                               .barrier = &barrier_none,
                               .footprint_blocks = nogc_footprint_blocks};
