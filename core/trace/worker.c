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
