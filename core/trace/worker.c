/*
 * Opening and resetting workers.
 */
#include "core/trace/worker.h"

bool worker_open(struct worker *worker, tsr_heap *heap) {
  worker->heap = heap;
  worker_reset(worker);
  return mark_queue_open(&worker->queue, heap);
}

void worker_close(struct worker *worker) {
  mark_queue_close(&worker->queue);
}

void worker_reset(struct worker *worker) {
  static const copy_target none = {.block = BLOCK_NONE};
  worker->overflowed = false;
  worker->live_bytes = 0;
  worker->targets = (copy_buffer){.main = none, .overflow = none};
}

static void worker_reach_one(void *context, tsr_ref object) {
  struct worker *worker = context;
  const tsr_heap *heap = worker->heap;
  worker_reach_staying(worker, object, block_map_space_of(&heap->blocks, (uintptr_t)object));
}

void worker_reach_immortal(struct worker *worker) {
  spaces_each_immortal(worker->heap, worker_reach_one, worker);
}
