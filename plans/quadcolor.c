/*
 * quadcolor: a young generation that is copied, in front of an old one that is marked and swept.
 *
 * Objects are born in the copy space. A minor collection looks at nothing old but what the remembered set names: what
 * survives its first is copied within the space, what survives its second is promoted, into an arena where
 * it stays. A large object stays in any case, and is old when it has survived its first. A collection of everything
 * promotes all that is young and reached, and marks and sweeps what is old, in one pause.
 *
 * Without a nursery there is the old generation alone, and no object moves. What takes the place of minor collections looks at
 * roots and at what was stored into, while a cycle of marking is under way [design: without-nursery]. Where nearly all that is
 * young survives, the plan takes this form from one cycle to the next [design: resting-nursery].
 */
#include <string.h>

#include "barriers/barriers.h"
#include "core/collect/collector.h"
#include "core/trace/copying.h"
#include "core/trace/marking.h"
#include "core/trace/remembered.h"

/* ---- when ---------------------------------------------------------------------------------------------------- */

/* Of the collections that stress asks for, one in so many is of everything. */
#define QUADCOLOR_STRESS_MAJOR 16

static size_t quadcolor_young(const tsr_heap *heap) {
  return copy_space_blocks(&heap->spaces->copy);
}

static size_t quadcolor_gap_bytes(const tsr_heap *heap) {
  return arena_free_bytes(&heap->spaces->arenas[ARENA_PROMOTED]) +
         arena_free_bytes(&heap->spaces->arenas[ARENA_LEAVES]);
}

static bool quadcolor_has_room(const tsr_heap *heap, size_t default_blocks) {
  if (default_blocks == 0) return true;
  return nursery_filled_blocks(heap, quadcolor_young(heap) + default_blocks) <=
         nursery_blocks(heap);
}

/* Whether as much is young as there is to be between two collections, and what is claimed will fit if all that is large
   among it is dead. */
static bool quadcolor_is_filled(const tsr_heap *heap) {
  const large_space *large = &heap->spaces->large;
  size_t young = large_space_young_blocks(large), wanted = heap->claim_blocks;
  return (!quadcolor_has_room(heap, 1) || large_space_is_due(large, wanted)) &&
         heap_fits_now(heap, 1, wanted > young ? wanted - young : 0);
}

/* Whether a full heap may have room again without a look at what is old: so much is young and large. */
static bool quadcolor_may_do(const tsr_heap *heap) {
  size_t young = large_space_young_blocks(&heap->spaces->large);
  return young > heap->claim_blocks + nursery_blocks(heap) && heap_fits_now(heap, 0, 0);
}

/* Whether a collection for this cause is a minor one where the heap is not full. */
static bool quadcolor_cause_is_minor(const tsr_heap *heap, const char *cause) {
  if (strcmp(cause, COLLECTION_STRESS) == 0) {
    return heap->collector->started % QUADCOLOR_STRESS_MAJOR != 0;
  }
  return strcmp(cause, COLLECTION_MARKING) == 0;
}

static bool quadcolor_is_minor(tsr_heap *heap, const char *cause) {
  if (strcmp(cause, COLLECTION_ALLOCATION) != 0) return quadcolor_cause_is_minor(heap, cause);
  return quadcolor_is_filled(heap) || marking_may_grow(heap, nursery_blocks(heap)) ||
         quadcolor_may_do(heap);
}

/* ---- the trace ------------------------------------------------------------------------------------------- */

#define QUADCOLOR_AGE ((uint64_t)0x02 << GC_BYTE_SHIFT) /* has survived once */

static void quadcolor_prepare(tsr_heap *heap) {
  if (!heap->minor) marking_abandon(heap);
  marking_prepare(heap);
  copy_space_prepare(&heap->spaces->copy);
  for (uint32_t i = 0; i < heap->team->active; i++) {
    struct worker *worker = team_worker(heap->team, i);
    worker->promotions.marks = worker->leaves.marks = !heap->minor || heap_is_marking(heap);
    /* Two kinds of blocks that are partly filled, and two for each worker, would be a waste then. */
    if (heap->emergency) worker->promotions.leaves = &worker->promotions;
    worker->survived = heap->nursery.promotes_at_once ? QUADCOLOR_AGE : 0;
  }
  if (heap->minor) {
    large_space_prepare_young(&heap->spaces->large);
    remembered_reach(&heap->team->first);
  } else {
    large_space_promote_all(&heap->spaces->large);
    remembered_forget(heap);
    if (heap->emergency) spaces_mix_leaves(heap);
    spaces_evacuate(heap, heap->team->active);
  }
}

OS_ALWAYS_INLINE tsr_ref quadcolor_move_all(struct worker *worker, uintptr_t base, tsr_ref object,
                                            uint64_t header, uint64_t trace, bool shared) {
  /* What is old has no age; and what was old before is in the log no more. */
  header &= ~((uint64_t)GC_AGE_BITS << GC_BYTE_SHIFT);
  copy_buffer *targets = &worker->promotions;
  if (kernel_is_leaf(header, trace)) targets = targets->leaves;
  return copy_promote(targets, base, object, header, layout_trace_bytes(trace), shared);
}

OS_ALWAYS_INLINE tsr_ref quadcolor_move_old(struct worker *worker, uintptr_t base, tsr_ref object,
                                            uint64_t header, uint64_t trace, bool shared) {
  if (((header | worker->survived) & QUADCOLOR_AGE) != 0) {
    return quadcolor_move_all(worker, base, object, header, trace, shared);
  }
  return copy_evacuate(&worker->targets, base, object, header | QUADCOLOR_AGE,
                       layout_trace_bytes(trace), shared);
}

OS_ALWAYS_INLINE tsr_ref quadcolor_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                                         enum block_space space, bool shared) {
  if (space == run->from_space) {
    return copying_visit_copied(quadcolor_move_all, run, object, shared);
  }
  if (block_space_stays(space)) kernel_reach_staying(run, object, granule, space, shared);
  return space == BLOCK_PINNED ? copying_visit_pinned(quadcolor_move_all, run, object, shared)
                               : object;
}

OS_ALWAYS_INLINE tsr_ref quadcolor_visit_young(kernel_run *run, tsr_ref object, uintptr_t granule,
                                               enum block_space space, bool shared) {
  (void)granule;
  if (space == run->from_space) {
    return copying_visit_copied(quadcolor_move_old, run, object, shared);
  }
  if (TSR_LIKELY(block_space_stays(space))) {
    if (TSR_UNLIKELY(run->worker->marks_old)) marking_reach(run->worker, object, space, shared);
    return object;
  }
  if (space == BLOCK_LARGE_YOUNG && worker_promote_large(run->worker, object, shared)) {
    kernel_push(run, object);
  }
  return space == BLOCK_PINNED ? copying_visit_pinned(quadcolor_move_old, run, object, shared)
                               : object;
}

/* In a step of marking, or in the remark: what is young has been looked at. */
OS_ALWAYS_INLINE tsr_ref quadcolor_visit_old(kernel_run *run, tsr_ref object, uintptr_t granule,
                                             enum block_space space, bool shared) {
  if (block_space_stays(space)) kernel_reach_staying(run, object, granule, space, shared);
  return object;
}

/* All that is old by its scan is armed here, whatever it was before. */
KERNEL_DEFINE_ALL(quadcolor, quadcolor_visit, KERNEL_WAITS_FOR_OBJECT, KERNEL_TO_THE_END,
                  KERNEL_ARMS)
KERNEL_DEFINE_ALL(quadcolor_young, quadcolor_visit_young, KERNEL_WAITS_FOR_OBJECT,
                  KERNEL_TO_THE_END, KERNEL_REMEMBERS)
KERNEL_DEFINE_ALL(quadcolor_old, quadcolor_visit_old, KERNEL_WAITS_FOR_MARK, KERNEL_IN_STEPS,
                  KERNEL_SCANS)

static void quadcolor_visit_slots(struct worker *worker, tsr_slot *first, size_t count) {
  switch (worker->heap->traces) {
  case TRACES_ALL:
    kernel_visit_slots(quadcolor_alone, worker, first, count);
    return;
  case TRACES_YOUNG:
    kernel_visit_slots(quadcolor_young_alone, worker, first, count);
    return;
  case TRACES_OLD:
    kernel_visit_slots(quadcolor_old_alone, worker, first, count);
    return;
  }
}

static void quadcolor_take_noted(struct worker *worker, tsr_slot *const *slots, size_t count,
                                 bool shared) {
  if (shared) {
    kernel_take_scattered(quadcolor_young_shared, worker, slots, count);
  } else {
    kernel_take_scattered(quadcolor_young_alone, worker, slots, count);
  }
}

static void quadcolor_reach(struct worker *worker, tsr_ref object) {
  if (worker->heap->traces == TRACES_YOUNG) {
    kernel_reach(quadcolor_young_alone, worker, object);
  } else {
    kernel_reach(quadcolor_alone, worker, object);
  }
}

static void quadcolor_trace_any(struct worker *worker, bool shared) {
  static void (*const traces[])(struct worker *, bool) = {[TRACES_ALL] = quadcolor_trace,
                                                          [TRACES_YOUNG] = quadcolor_young_trace,
                                                          [TRACES_OLD] = quadcolor_old_trace};
  traces[worker->heap->traces](worker, shared);
}

static void quadcolor_rescan(struct worker *worker) {
  switch (worker->heap->traces) {
  case TRACES_ALL:
    kernel_rescan(quadcolor_alone, worker);
    return;
  case TRACES_YOUNG:
    kernel_rescan(quadcolor_young_alone, worker);
    return;
  case TRACES_OLD:
    kernel_rescan(quadcolor_old_alone, worker);
    return;
  }
}

static tsr_ref quadcolor_survivor(const tsr_heap *heap, tsr_ref object) {
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  if (space == BLOCK_LARGE_YOUNG) return NULL;
  if (!block_space_stays(space)) {
    return heap->traces == TRACES_OLD ? object : copying_survivor(heap, object, space);
  }
  return heap->traces == TRACES_YOUNG || spaces_is_reached(heap, object) ? object : NULL;
}

static size_t quadcolor_release(tsr_heap *heap) {
  size_t live_bytes = copying_release(heap);
  if (heap->minor) {
    large_space_release_young(&heap->spaces->large);
    remembered_settle(heap);
    seal_close_again(heap);
  } else {
    live_bytes += spaces_release_staying(heap);
    /* Young is what could not be promoted. */
    remembered_rebuild(heap, quadcolor_young(heap) > 0);
  }
  os_atomic_store(&heap->nursery.left_blocks, quadcolor_young(heap));
  return live_bytes;
}

/* While the nursery rests, objects are born that are not armed. When all that is old has been scanned, each is armed that is
   left. */
static void quadcolor_choose_form(tsr_heap *heap, bool looked_at_all) {
  if (heap_nursery_rests(heap)) {
    if (looked_at_all) nursery_wake(heap);
  } else if (heap->minor && nursery_may_rest(heap) && quadcolor_young(heap) == 0) {
    nursery_rest(heap);
  }
}

/* ---- without a nursery ----------------------------------------------------------------------------------- */

static size_t still_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                     size_t staying_blocks) {
  return spaces_marked_blocks(heap) + default_blocks + staying_blocks;
}

static bool still_is_minor(tsr_heap *heap, const char *cause) {
  if (strcmp(cause, COLLECTION_ALLOCATION) != 0) return quadcolor_cause_is_minor(heap, cause);
  return heap_fits_now(heap, 1, heap->claim_blocks) || marking_may_grow(heap, 1);
}

static void still_prepare(tsr_heap *heap) {
  if (!heap->minor) {
    marking_abandon(heap);
  } else if (!heap_is_marking(heap) && !heap_is_sweeping(heap)) {
    marking_begin(heap);
  }
  marking_prepare(heap);
  if (heap->minor) {
    remembered_reach(&heap->team->first);
  } else {
    remembered_forget(heap);
    if (heap->emergency) spaces_mix_leaves(heap);
  }
}

/* Nothing moves. */
static void still_pin(tsr_heap *heap, tsr_ref object) {
  (void)heap;
  (void)object;
}

/* What roots refer to is left to the steps, and so is the log. */
OS_ALWAYS_INLINE tsr_ref still_visit_root(kernel_run *run, tsr_ref object, uintptr_t granule,
                                          enum block_space space, bool shared) {
  (void)granule;
  if (block_space_stays(space) && run->worker->marks_old) {
    marking_reach(run->worker, object, space, shared);
  }
  return object;
}

KERNEL_DEFINE_ALL(still_roots, still_visit_root, KERNEL_WAITS_FOR_MARK, KERNEL_TO_THE_END,
                  KERNEL_ARMS)
KERNEL_DEFINE_ALL(still, quadcolor_visit_old, KERNEL_WAITS_FOR_MARK, KERNEL_IN_STEPS,
                  KERNEL_TAKES_LOGGED)

static void still_visit_slots(struct worker *worker, tsr_slot *first, size_t count) {
  if (worker->heap->traces == TRACES_YOUNG) {
    kernel_visit_slots(still_roots_alone, worker, first, count);
  } else {
    kernel_visit_slots(still_alone, worker, first, count);
  }
}

static void still_take_noted(struct worker *worker, tsr_slot *const *slots, size_t count,
                             bool shared) {
  if (shared) {
    kernel_take_scattered(still_roots_shared, worker, slots, count);
  } else {
    kernel_take_scattered(still_roots_alone, worker, slots, count);
  }
}

static void still_reach(struct worker *worker, tsr_ref object) {
  if (worker->heap->traces == TRACES_YOUNG) {
    kernel_reach(still_roots_alone, worker, object);
  } else {
    kernel_reach(still_alone, worker, object);
  }
}

static void still_trace_any(struct worker *worker, bool shared) {
  if (worker->heap->traces == TRACES_YOUNG) {
    still_roots_trace(worker, shared);
  } else {
    still_trace(worker, shared);
  }
}

static void still_rescan(struct worker *worker) {
  if (worker->heap->traces == TRACES_YOUNG) {
    kernel_rescan(still_roots_alone, worker);
  } else {
    kernel_rescan(still_alone, worker);
  }
}

static tsr_ref still_survivor(const tsr_heap *heap, tsr_ref object) {
  return heap->traces == TRACES_YOUNG || spaces_is_reached(heap, object) ? object : NULL;
}

static size_t still_release(tsr_heap *heap) {
  if (heap->minor) {
    seal_close_again(heap);
    return 0;
  }
  size_t live_bytes = spaces_release_staying(heap);
  remembered_rebuild(heap, false);
  return live_bytes;
}

/* Of the same name: the option `nursery` tells them apart. */
static const struct plan plan_still = {.name = "quadcolor",
                                       .summary = "marks in steps and sweeps; no object moves",
                                       .offers = TSR_NEEDS_NON_MOVING | TSR_NEEDS_AMBIGUOUS_ROOTS |
                                                 TSR_NEEDS_INTERIOR_POINTERS,
                                       .preference = 20,
                                       .requires = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS,
                                       .collects = true,
                                       .promoted_arena = true,
                                       .incremental = true,
                                       .least_blocks = 2,
                                       .barrier = &barrier_quadcolor,
                                       .footprint_blocks = still_footprint_blocks,
                                       .gap_bytes = quadcolor_gap_bytes,
                                       .is_minor = still_is_minor,
                                       .prepare = still_prepare,
                                       .pin = still_pin,
                                       .visit_slots = still_visit_slots,
                                       .take_noted = still_take_noted,
                                       .reach = still_reach,
                                       .trace = still_trace_any,
                                       .rescan = still_rescan,
                                       .survivor = still_survivor,
                                       .release = still_release};

extern const struct plan plan_quadcolor;
const struct plan plan_quadcolor = {.name = "quadcolor",
                                    .summary = "copies what is young, marks and sweeps what is old",
                                    .offers = TSR_NEEDS_AMBIGUOUS_ROOTS,
                                    .preference = 20,
                                    .requires = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                                TSR_DOES_UPDATABLE_SLOTS,
                                    .collects = true,
                                    .moves_objects = true,
                                    .choose_form = quadcolor_choose_form,
                                    .generational = true,
                                    .incremental = true,
                                    .least_blocks = COPYING_LEAST_BLOCKS,
                                    .barrier = &barrier_quadcolor,
                                    .footprint_blocks = copying_footprint_blocks,
                                    .gap_bytes = quadcolor_gap_bytes,
                                    .has_room = quadcolor_has_room,
                                    .is_minor = quadcolor_is_minor,
                                    .prepare = quadcolor_prepare,
                                    .pin = copying_pin,
                                    .visit_slots = quadcolor_visit_slots,
                                    .take_noted = quadcolor_take_noted,
                                    .reach = quadcolor_reach,
                                    .trace = quadcolor_trace_any,
                                    .rescan = quadcolor_rescan,
                                    .survivor = quadcolor_survivor,
                                    .release = quadcolor_release,
                                    .without_nursery = &plan_still};
