/*
 * semispace: each collection copies everything live out of from-space and frees it whole; objects
 * that may not move stay and are marked.
 */
#include "barriers/barriers.h"
#include "core/heap/plan.h"
#include "core/trace/copying.h"

static void semispace_prepare(tsr_heap *heap) {
  copy_space_prepare(&heap->spaces->copy);
}

OS_ALWAYS_INLINE tsr_ref semispace_move(struct worker *worker, uintptr_t base, tsr_ref object,
                                        uint64_t header, uint64_t trace, bool shared) {
  return copy_evacuate(&worker->targets, base, object, header, layout_trace_bytes(trace), shared);
}

OS_ALWAYS_INLINE tsr_ref semispace_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                                         enum block_space space, bool shared) {
  if (TSR_LIKELY(space == run->from_space)) {
    return copying_visit_copied(semispace_move, run, object, shared);
  }
  if (block_space_stays(space)) kernel_reach_staying(run, object, granule, space, shared);
  return space == BLOCK_PINNED ? copying_visit_pinned(semispace_move, run, object, shared) : object;
}

KERNEL_DEFINE_ALL(semispace, semispace_visit, KERNEL_WAITS_FOR_OBJECT, KERNEL_TO_THE_END,
                  KERNEL_SCANS)

static void semispace_visit_slots(struct worker *worker, tsr_slot *first, size_t count) {
  kernel_visit_slots(semispace_alone, worker, first, count);
}

static void semispace_reach(struct worker *worker, tsr_ref object) {
  kernel_reach(semispace_alone, worker, object);
}

static void semispace_rescan(struct worker *worker) {
  kernel_rescan(semispace_alone, worker);
}

static tsr_ref semispace_survivor(const tsr_heap *heap, tsr_ref object) {
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  if (block_space_stays(space)) return spaces_is_reached(heap, object) ? object : NULL;
  return copying_survivor(heap, object, space);
}

static size_t semispace_release(tsr_heap *heap) {
  size_t live_bytes = copying_release(heap);
  return live_bytes + spaces_release_staying(heap);
}

extern const struct plan plan_semispace;
const struct plan plan_semispace = {.name = "semispace",
                                    .summary = "copies everything live at each collection",
                                    .offers = TSR_NEEDS_AMBIGUOUS_ROOTS,
                                    .preference = 10,
                                    .requires = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
                                    .collects = true,
                                    .moves_objects = true,
                                    .least_blocks = COPYING_LEAST_BLOCKS,
                                    .barrier = &barrier_none,
                                    .footprint_blocks = copying_footprint_blocks,
                                    .prepare = semispace_prepare,
                                    .pin = copying_pin,
                                    .visit_slots = semispace_visit_slots,
                                    .reach = semispace_reach,
                                    .trace = semispace_trace,
                                    .rescan = semispace_rescan,
                                    .survivor = semispace_survivor,
                                    .release = semispace_release};
