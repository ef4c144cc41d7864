/*
 * What workers do rarely.
 */
#include "core/trace/worker.h"

#include "core/object/ephemeron.h"
#include "core/trace/marking.h"
#include "core/trace/team.h"

void worker_reset(struct worker *worker) {
  worker->overflowed = worker->takes_arrays = false;
  worker->live_bytes = 0;
  worker->cpu_ns = 0;
  worker->found_weak = worker->found_ephemerons = WEAK_END;
  worker->ephemeron_visits = 0;
  struct spaces *spaces = worker->heap->spaces;
  worker->targets = copy_buffer_empty(&spaces->copy);
  worker->promotions =
      copy_buffer_promoting(&spaces->copy, &spaces->arenas[ARENA_PROMOTED], &worker->targets);
  worker->leaves =
      copy_buffer_promoting(&spaces->copy, &spaces->arenas[ARENA_LEAVES], &worker->targets);
  worker->promotions.leaves = &worker->leaves;
  worker->deadline_ns = worker->turns_left = WORKER_NEVER;
  worker->edges_waiting = 0;
  for (size_t i = 0; i < WORKER_EDGES; i++)
    worker->edges[i] = WORKER_NO_EDGE;
}

bool worker_is_out_of_time(struct worker *worker) {
  if (worker->deadline_ns != WORKER_NEVER && os_clock_ns() >= worker->deadline_ns)
    worker->is_late = true;
  return worker->is_late;
}

bool worker_has_to_stop(struct worker *worker) {
  if (--worker->turns_left == 0) worker->is_late = true;
  return worker_is_out_of_time(worker);
}

void worker_overflow(struct worker *worker, tsr_ref object) {
  if (worker->in_steps) {
    marking_defer(worker, object);
    return;
  }
  const block_map *map = &worker->heap->blocks;
  os_atomic8_set(&block_map_at(map, block_map_index(map, (uintptr_t)object))->rescan);
  worker->overflowed = true;
}

void worker_open(tsr_heap *heap, tsr_ref object) {
  if (!seal_is_to_open(heap, object)) return;
  os_mutex_lock(&heap->team->lock);
  seal_open_reached(heap, object);
  os_mutex_unlock(&heap->team->lock);
}

/* A displaced word belongs to a key, which is scanned so that its ephemerons learn of it. */
static bool worker_has_to_scan(tsr_ref object) {
  uint64_t header = header_load_shared(object);
  return !header_is_leaf(header) || header_is_displaced(header);
}

bool worker_reach_special(struct worker *worker, tsr_ref object, enum block_space space,
                          bool shared) {
  tsr_heap *heap = worker->heap;
  large_space *large = &heap->spaces->large;
  if (space == BLOCK_SEALED) {
    if (!arena_reach(heap, object, shared)) return false;
  } else if (space != BLOCK_LARGE || !large_space_reach(large, object, shared) ||
             large_space_is_leaf(large, object)) {
    return false;
  }
  if (!worker_has_to_scan(object)) return false;
  worker_open(heap, object);
  return true;
}

bool worker_promote_large(struct worker *worker, tsr_ref object, bool shared) {
  large_space *space = &worker->heap->spaces->large;
  bool is_armed = large_space_is_armed_young(space, object);
  if (!large_space_promote(space, object, shared)) return false;
  if (is_armed) worker->takes_arrays = true;
  return !is_armed && worker_has_to_scan(object);
}

void worker_queue_staying(struct worker *worker, tsr_ref object) {
  if (header_is_leaf(header_load(object))) return;
  worker_open(worker->heap, object);
  worker_enqueue(worker, object);
}

static void worker_reach_one(void *context, tsr_ref object) {
  struct worker *worker = context;
  const tsr_heap *heap = worker->heap;
  worker_reach_staying(worker, object, block_map_space_of(&heap->blocks, (uintptr_t)object), false);
}

void worker_reach_immortal(struct worker *worker) {
  spaces_each_immortal(worker->heap, worker_reach_one, worker);
}
