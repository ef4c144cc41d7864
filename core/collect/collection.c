/*
 * One collection: claim, stop, prepare, roots, trace, release, revoke, resume.
 */
#include "core/alloc/bump.h"
#include "core/collect/collector.h"
#include "core/os/error.h"

/* ---- the collector ------------------------------------------------------------------------------------- */

tsr_status collector_open(tsr_heap *heap, tsr_error *error) {
  struct collector *collector = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *collector);
  if (collector == NULL) goto no_memory;
  if (!os_mutex_create(&collector->lock)) goto no_lock;
  if (!os_condition_create(&collector->changed)) goto no_condition;
  if (!worker_open(&collector->worker, heap)) goto no_worker;
  heap->collector = collector;
  return TSR_OK;

no_worker:
  os_condition_destroy(&collector->changed);
no_condition:
  os_mutex_destroy(&collector->lock);
no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, collector, sizeof *collector);
no_memory:
  return heap_no_memory(heap, error);
}

void collector_close(tsr_heap *heap) {
  struct collector *collector = heap->collector;
  worker_close(&collector->worker);
  os_condition_destroy(&collector->changed);
  os_mutex_destroy(&collector->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, collector, sizeof *collector);
  heap->collector = NULL;
}

/* ---- stopping the world ------------------------------------------------------------------------------- */

/* Claims the world for `self`. False: another mutator had it, and `self` has waited for its end. */
static bool collection_claim(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  os_mutex_lock(&collector->lock);
  bool claimed = !collector->in_progress;
  if (claimed) {
    collector->in_progress = true;
    collector->claims++;
  }
  os_mutex_unlock(&collector->lock);
  if (!claimed) safepoint_block(self);
  return claimed;
}

/*
 * Lets the world run. The claim ends before anybody is resumed, so that whoever sees it taken can rely on a
 * resume still to come; binding opens again after the last has been resumed.
 */
static void collection_yield(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  os_mutex_lock(&collector->lock);
  collector->in_progress = false;
  os_mutex_unlock(&collector->lock);
  safepoint_resume_all(self->heap, self);
  os_mutex_lock(&collector->lock);
  collector->claims--;
  os_condition_wake_all(&collector->changed);
  os_mutex_unlock(&collector->lock);
}

/* ---- the phases ---------------------------------------------------------------------------------------- */

static void collection_visit_roots(tsr_heap *heap, struct worker *worker) {
  tsr_visitor visitor = {.worker = worker, .plan = heap->plan};
  roots_visit(heap, &visitor);
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    locals_visit(m->mutator, &visitor);
    if (heap->binding->scan_mutator_roots != NULL) {
      heap->binding->scan_mutator_roots(heap->vm, m->mutator, &visitor);
    }
  }
}

/* Every pair that Tessera knows is empty before any mutator runs again. */
static void collection_revoke_pairs(const struct collector *collector) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    bump_revoke_all(m);
  }
}

static void collection_trace(tsr_heap *heap) {
  struct worker *worker = &heap->collector->worker;
  worker_reset(worker);
  heap->phase = "prepare";
  heap->plan->prepare(heap, worker);
  heap->phase = "roots";
  collection_visit_roots(heap, worker);
  heap->phase = "trace";
  heap->plan->trace(worker);
  heap->phase = "release";
  heap->plan->release(heap, worker);
  heap->phase = NULL;
}

static uint64_t collection_used_bytes(const tsr_heap *heap) {
  return (uint64_t)heap->blocks.used_blocks * BLOCK_BYTES;
}

/* The work of a collection, world stopped. */
static void collection_carry_out(tsr_heap *heap, tsr_collection *record) {
  struct collector *collector = heap->collector;
  record->before_bytes = collection_used_bytes(heap);
  collection_revoke_pairs(collector);
  collection_trace(heap);
  block_map_end_collection(&heap->blocks);
  heap_resize(heap);
  collector->collections++;
  os_atomic_store(&collector->progress, 0);

  record->number = collector->collections;
  record->plan = heap->plan->name;
  record->after_bytes = collection_used_bytes(heap);
  record->live_bytes = collector->worker.live_bytes;
  record->committed_bytes = os_atomic_load(&heap->account.total.bytes);
  record->workers = 1;
}

bool collection_run(tsr_mutator *self, const char *cause) {
  tsr_heap *heap = self->heap;
  uint64_t begin_ns = os_clock_ns();
  if (!collection_claim(self)) return false;
  safepoint_stop_all(heap, self);
  uint64_t begin_cpu_ns = os_thread_cpu_ns();
  tsr_collection record = {.cause = cause};
  collection_carry_out(heap, &record);
  record.pause_cpu_ns = os_thread_cpu_ns() - begin_cpu_ns;
  record.pause_ns = os_clock_ns() - begin_ns;
  if (heap->binding->collection_ended != NULL) heap->binding->collection_ended(heap->vm, &record);
  collection_yield(self);
  record.pause_ns = os_clock_ns() - begin_ns;
  report_collection(heap, &record);
  return true;
}

/* ---- requests ------------------------------------------------------------------------------------------- */

bool collection_is_enabled(tsr_heap *heap) {
  os_mutex_lock(&heap->collector->lock);
  bool enabled = heap->collector->disabled == 0;
  os_mutex_unlock(&heap->collector->lock);
  return enabled;
}

void collection_disable(tsr_heap *heap) {
  os_mutex_lock(&heap->collector->lock);
  heap->collector->disabled++;
  os_mutex_unlock(&heap->collector->lock);
}

tsr_status collection_enable(tsr_heap *heap, tsr_error *error) {
  os_mutex_lock(&heap->collector->lock);
  bool was_disabled = heap->collector->disabled > 0;
  if (was_disabled) heap->collector->disabled--;
  os_mutex_unlock(&heap->collector->lock);
  if (was_disabled) return TSR_OK;
  return error_set(error, TSR_BUSY, "tsr_collection_enable: collection is not disabled");
}

tsr_status collection_request(tsr_mutator *self, tsr_error *error) {
  tsr_heap *heap = self->heap;
  if (!heap->plan->collects) {
    return error_set(error, TSR_UNSUPPORTED, "plan %s never collects", heap->plan->name);
  }
  if (!collection_is_enabled(heap)) {
    return error_set(error, TSR_BUSY, "collection is disabled; tsr_collection_enable() first");
  }
  /* A request asks for a collection that begins after it: one that was on already does not count. */
  while (!collection_run(self, "request"))
    continue;
  return TSR_OK;
}

void collection_enumerate(tsr_mutator *self, tsr_object_callback callback, void *context) {
  tsr_heap *heap = self->heap;
  while (!collection_claim(self))
    continue;
  safepoint_stop_all(heap, self);
  spaces_enumerate(heap, callback, context);
  collection_yield(self);
}
