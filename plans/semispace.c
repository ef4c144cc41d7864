/*
 * semispace: each collection copies everything live out of from-space and frees it whole; objects
 * that may not move stay and are marked.
 *
 * At its worst moment, when everything survives, a collection holds from-space and to-space at once,
 * and to-space may need a little more blocks, since objects pack in another order. The footprint counts
 * both. Keeping blocks in place (core/space/copy.h) is for what the margin does not cover: it is
 * sound, but it frees little, because the last survivors lie scattered over many blocks.
 */
#include "barriers/barriers.h"
#include "core/heap/plan.h"
#include "core/trace/kernel.h"

/* By how much to-space may outgrow from-space: a share for the ends of full blocks, and the two blocks
   that are being filled. */
#define SEMISPACE_MARGIN_SHARE  16
#define SEMISPACE_MARGIN_BLOCKS 2

static size_t semispace_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                         size_t staying_blocks) {
  size_t from = copy_space_blocks(&heap->spaces->copy) + default_blocks;
  size_t to = from + from / SEMISPACE_MARGIN_SHARE + SEMISPACE_MARGIN_BLOCKS;
  return from + to + spaces_staying_blocks(heap) + staying_blocks;
}

static void semispace_prepare(tsr_heap *heap, struct worker *worker) {
  (void)worker;
  copy_space_prepare(&heap->spaces->copy);
}

/* An object of from-space: moved before, kept before, or reached now. */
KERNEL_INLINE tsr_ref semispace_visit_copied(struct worker *worker, tsr_ref object) {
  tsr_heap *heap = worker->heap;
  uint64_t header = header_load(object);
  if (header_is_forwarded(header)) {
    return (tsr_ref)forwarding_target(heap->blocks.base, header);
  }
  if (header_stays(header)) return object;
  tsr_ref now = copy_space_evacuate(&heap->spaces->copy, &worker->targets, object);
  if (!header_is_leaf(header)) worker_enqueue(worker, now);
  return now;
}

KERNEL_INLINE tsr_ref semispace_visit(struct worker *worker, tsr_ref object,
                                      enum block_space space) {
  const struct spaces *spaces = worker->heap->spaces;
  if (space == spaces->copy.from_space) return semispace_visit_copied(worker, object);
  if (space >= BLOCK_ARENA) worker_reach_staying(worker, object, space);
  return object;
}

static void semispace_visit_slots(struct worker *worker, tsr_slot *first, size_t count) {
  kernel_visit_slots(worker, first, count, semispace_visit);
}

static void semispace_trace(struct worker *worker) {
  kernel_trace(worker, semispace_visit);
}

static void semispace_release(tsr_heap *heap, struct worker *worker) {
  worker->live_bytes = worker->targets.live_bytes;
  copy_space_release(&heap->spaces->copy, &worker->targets);
  worker->live_bytes += spaces_release_staying(heap);
}

extern const struct plan plan_semispace;
const struct plan plan_semispace = {.name = "semispace",
                                    .summary = "copies everything live at each collection",
                                    .preference = 10,
                                    .requires = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
                                    .collects = true,
                                    .moves_objects = true,
                                    .least_blocks = 1 + 1 + SEMISPACE_MARGIN_BLOCKS,
                                    .barrier = &barrier_none,
                                    .footprint_blocks = semispace_footprint_blocks,
                                    .prepare = semispace_prepare,
                                    .visit_slots = semispace_visit_slots,
                                    .trace = semispace_trace,
                                    .release = semispace_release};
