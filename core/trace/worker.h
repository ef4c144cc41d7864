/*
 * A worker: what one collecting thread needs to trace. This version has one; the tracing code
 * touches no other state, so that more can work side by side.
 */
#ifndef CORE_TRACE_WORKER_H
#define CORE_TRACE_WORKER_H

#include "core/space/seal.h"
#include "core/space/spaces.h"
#include "core/trace/queue.h"

#define WORKER_SCAN_SLOTS 256

struct worker {
  tsr_heap *heap;
  mark_queue queue;
  bool overflowed;     /* some block is flagged for another walk */
  copy_buffer targets; /* where it copies to */
  size_t live_bytes;   /* of everything that was reached; set by the release phase */
  tsr_slot *scan_slots[WORKER_SCAN_SLOTS]; /* what custom layouts report into */
};

bool worker_open(struct worker *worker, tsr_heap *heap);
void worker_close(struct worker *worker);
/* Ready for another collection. */
void worker_reset(struct worker *worker);

/* An entry found no room: its block will be walked again. */
static inline void worker_overflow(struct worker *worker, tsr_ref object) {
  const block_map *map = &worker->heap->blocks;
  block_map_at(map, block_map_index(map, (uintptr_t)object))->flags |= BLOCK_RESCAN;
  worker->overflowed = true;
}

/* Queues an object that was reached for the first time. */
static inline void worker_enqueue(struct worker *worker, tsr_ref object) {
  if (TSR_UNLIKELY(!mark_queue_push(&worker->queue, object))) worker_overflow(worker, object);
}

/*
 * Reaches an object that stays where it is, in a block of `space`: marks it, and queues it unless it is a
 * leaf. The same in every plan. What is sealed is opened: its slots will be written.
 */
static inline void worker_reach_staying(struct worker *worker, tsr_ref object,
                                        enum block_space space) {
  tsr_heap *heap = worker->heap;
  switch (space) {
  case BLOCK_ARENA:
  case BLOCK_SEALED:
    if (!arena_reach(heap, object)) return;
    break;
  case BLOCK_LARGE:
    if (!large_space_reach(&heap->spaces->large, object)) return;
    break;
  default:
    return;
  }
  if (header_is_leaf(header_load(object))) return;
  if (space != BLOCK_ARENA) seal_open_reached(heap, object);
  worker_enqueue(worker, object);
}

/* Reaches every immortal object: each is a root. */
void worker_reach_immortal(struct worker *worker);

#endif
