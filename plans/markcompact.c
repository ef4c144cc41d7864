/*
 * markcompact: marks everything live, then slides it together. Objects of default placement lie in the movable
 * arena and keep their order; no memory is held in reserve for a collection.
 */
#include "barriers/barriers.h"
#include "core/collect/compact.h"
#include "core/heap/plan.h"
#include "core/trace/kernel.h"

static size_t markcompact_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                           size_t staying_blocks) {
  return spaces_marked_blocks(heap) + default_blocks + staying_blocks;
}

/* Ambiguous words lead to objects that nobody has reached yet, and checks look at where objects start. */
static bool markcompact_needs_starts(const tsr_heap *heap) {
#ifdef TSR_CHECKS
  (void)heap;
  return true;
#else
  return heap->verifies || (heap->binding->needs & TSR_NEEDS_AMBIGUOUS_ROOTS) != 0;
#endif
}

static void markcompact_prepare(tsr_heap *heap) {
  arena_begin_trace(&heap->spaces->arenas[ARENA_MOVABLE], markcompact_needs_starts(heap));
}

OS_ALWAYS_INLINE tsr_ref markcompact_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                                           enum block_space space, bool shared) {
  kernel_reach_staying(run, object, granule, space, shared);
  return object;
}

KERNEL_DEFINE_ALL(markcompact, markcompact_visit, KERNEL_WAITS_FOR_MARK, KERNEL_TO_THE_END,
                  KERNEL_SCANS)

static void markcompact_visit_slots(struct worker *worker, tsr_slot *first, size_t count) {
  kernel_visit_slots(markcompact_alone, worker, first, count);
}

static void markcompact_reach(struct worker *worker, tsr_ref object) {
  kernel_reach(markcompact_alone, worker, object);
}

static void markcompact_rescan(struct worker *worker) {
  kernel_rescan(markcompact_alone, worker);
}

static tsr_ref markcompact_survivor(const tsr_heap *heap, tsr_ref object) {
  return spaces_is_reached(heap, object) ? object : NULL;
}

static size_t markcompact_release(tsr_heap *heap) {
  return compact_slide(heap) + spaces_release_staying(heap);
}

extern const struct plan plan_markcompact;
const struct plan plan_markcompact = {.name = "markcompact",
                                      .summary = "marks, then slides survivors together",
                                      .preference = 5,
                                      .requires = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
                                      .offers =
                                          TSR_NEEDS_AMBIGUOUS_ROOTS | TSR_NEEDS_INTERIOR_POINTERS,
                                      .collects = true,
                                      .moves_objects = true,
                                      .movable_arena = true,
                                      .least_blocks = 2,
                                      .barrier = &barrier_none,
                                      .footprint_blocks = markcompact_footprint_blocks,
                                      .prepare = markcompact_prepare,
                                      .pin = compact_pin,
                                      .visit_slots = markcompact_visit_slots,
                                      .reach = markcompact_reach,
                                      .trace = markcompact_trace,
                                      .rescan = markcompact_rescan,
                                      .survivor = markcompact_survivor,
                                      .relocate = compact_relocate,
                                      .update_slots = compact_update_slots,
                                      .release = markcompact_release};
