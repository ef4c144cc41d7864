/*
 * semispace: each collection copies everything live out of from-space and frees it whole; objects
 * that may not move stay and are marked.
 *
 * At its worst moment, when everything survives, a collection holds from-space and to-space at once,
 * and to-space may need a little more blocks, since objects pack in another order and those whose identity hash was
 * asked for grow. The footprint counts both. Keeping blocks in place (core/space/copy.h) is for what the margin does not cover: it is
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
  size_t copied = from + copy_space_growth_blocks(&heap->spaces->copy);
  size_t to = copied + copied / SEMISPACE_MARGIN_SHARE + SEMISPACE_MARGIN_BLOCKS;
  return from + to + spaces_marked_blocks(heap) + staying_blocks;
}

static void semispace_prepare(tsr_heap *heap) {
  copy_space_prepare(&heap->spaces->copy);
}

static void semispace_pin(tsr_heap *heap, tsr_ref object) {
  copy_space *copy = &heap->spaces->copy;
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) != copy->from_space) return;
  copy_space_pin(copy, (uintptr_t)object);
}

/*
 * An object that ephemerons wait for, in the copy space. Claims are made on its first word where that is kept. It
 * is copied, or stays, and is queued, leaf or not, with its first word displaced as before: whoever
 * scans it lets the ephemerons go. Where it is now comes out. False: another worker has it.
 */
OS_NEVER_INLINE bool semispace_visit_key(struct worker *worker, tsr_ref object, uint64_t displaced,
                                         bool shared, tsr_ref *result) {
  const tsr_heap *heap = worker->heap;
  tsr_ref home = displaced_home(displaced);
  OS_FETCH(displaced_head(displaced)); /* which may begin in the line before */
  uint64_t header = header_load_shared(home);
  *result = object;
  if (header_stays(header)) return true;
  if (header_is_claimed(header)) return false;
  uint64_t claimed = header_with_forward_bits(header, GC_CLAIMED);
  if (!header_exchange_shared(home, header, claimed)) return false;
  tsr_ref now = object;
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) == heap->spaces->copy.from_space) {
    header_store_shared(object, claimed);
    now = copy_evacuate(&worker->targets, heap->blocks.base, object, header, 0, shared);
  }
  if (now == object) {
    header_store_shared(home, header_with_forward_bits(header, GC_STAYS));
  } else {
    /* The copy's may differ in the bits of the identity hash. */
    header_store_shared(home, header_with_forward_bits(header_load(now), GC_CLAIMED));
  }
  header_store_shared(now, displaced);
  worker_enqueue(worker, now);
  *result = now;
  return true;
}

/* The same with whatever the kernel keeps in registers. */
OS_ALWAYS_INLINE bool semispace_meet_key(kernel_run *run, tsr_ref object, uint64_t displaced,
                                         bool shared, tsr_ref *result) {
  kernel_save(run);
  bool met = semispace_visit_key(run->worker, object, displaced, shared, result);
  kernel_restore(run);
  return met;
}

/* An object of from-space: moved before, kept before, or reached now. */
OS_ALWAYS_INLINE tsr_ref semispace_visit_copied(kernel_run *run, tsr_ref object, bool shared) {
  uint64_t header = shared ? header_load_shared(object) : header_load(object);
  for (;;) {
    if (!header_is_unreached(header)) {
      if (header_is_forwarded(header)) return (tsr_ref)forwarding_target(run->base, header);
      if (header_stays(header)) return object;
      if (header_is_displaced(header)) {
        tsr_ref now;
        if (semispace_meet_key(run, object, header, shared, &now)) return now;
        header = header_load_shared(object);
        continue;
      }
    }
    if (!shared) break;
    uint64_t claimed = header_with_forward_bits(header, GC_CLAIMED);
    if (!header_is_claimed(header) && header_exchange_shared(object, header, claimed)) break;
    /* Another worker has it, for as long as it takes to copy it. */
    os_pause();
    header = header_load_shared(object);
  }
  size_t bytes = layout_trace_bytes(kernel_layout(run, header));
  tsr_ref now = copy_evacuate(&run->worker->targets, run->base, object, header, bytes, shared);
  if (!header_is_leaf(header)) kernel_push(run, now);
  return now;
}

/* An object in a block that is kept in place. */
OS_ALWAYS_INLINE tsr_ref semispace_visit_pinned(kernel_run *run, tsr_ref object, bool shared) {
  uint64_t header;
  for (;;) {
    header = shared ? header_load_shared(object) : header_load(object);
    if (header_stays(header)) return object;
    if (header_is_displaced(header)) {
      tsr_ref now; /* where it was */
      if (semispace_meet_key(run, object, header, shared, &now)) return object;
      continue;
    }
    uint64_t staying = header_with_forward_bits(header, GC_STAYS);
    if (shared && !header_exchange_shared(object, header, staying)) continue;
    if (!shared) header_store(object, staying);
    break;
  }
  if (!header_is_leaf(header)) kernel_push(run, object);
  return object;
}

OS_ALWAYS_INLINE tsr_ref semispace_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                                         enum block_space space, bool shared) {
  if (TSR_LIKELY(space == run->from_space)) return semispace_visit_copied(run, object, shared);
  if (block_space_stays(space)) kernel_reach_staying(run, object, granule, space, shared);
  return space == BLOCK_PINNED ? semispace_visit_pinned(run, object, shared) : object;
}

KERNEL_DEFINE_ALL(semispace, semispace_visit, KERNEL_WAITS_FOR_OBJECT)

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
  const copy_space *copy = &heap->spaces->copy;
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  if (block_space_stays(space)) return spaces_is_reached(heap, object) ? object : NULL;
  if (space == copy->to.space) return object;
  uint64_t header = header_load(object);
  if (header_is_forwarded(header)) {
    return (tsr_ref)forwarding_target(heap->blocks.base, header);
  }
  return header_stays(header_load_anywhere(object)) ? object : NULL;
}

static size_t semispace_release(tsr_heap *heap) {
  size_t live_bytes = 0;
  for (uint32_t i = 0; i < heap->team->active; i++) {
    copy_buffer *targets = &team_worker(heap->team, i)->targets;
    live_bytes += targets->live_bytes;
    copy_retire(targets);
  }
  live_bytes += copy_space_release(&heap->spaces->copy);
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
                                    .least_blocks = 1 + 1 + SEMISPACE_MARGIN_BLOCKS,
                                    .barrier = &barrier_none,
                                    .footprint_blocks = semispace_footprint_blocks,
                                    .prepare = semispace_prepare,
                                    .pin = semispace_pin,
                                    .visit_slots = semispace_visit_slots,
                                    .reach = semispace_reach,
                                    .trace = semispace_trace,
                                    .rescan = semispace_rescan,
                                    .survivor = semispace_survivor,
                                    .release = semispace_release};
