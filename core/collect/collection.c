/*
 * One collection: claim, stop, prepare, roots, trace, release, revoke, resume.
 */
#include "core/alloc/bump.h"
#include "core/collect/collector.h"
#include "core/os/error.h"
#include "core/verify/verify.h"

/* ---- the collector ------------------------------------------------------------------------------------- */

tsr_status collector_open(tsr_heap *heap, tsr_error *error) {
  struct collector *collector = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *collector);
  if (collector == NULL) goto no_memory;
  if (!os_mutex_create(&collector->lock)) goto no_lock;
  if (!os_condition_create(&collector->stopped)) goto no_stopped;
  if (!os_condition_create(&collector->resumed)) goto no_resumed;
  if (!worker_open(&collector->worker, heap)) goto no_worker;
  heap->collector = collector;
  return TSR_OK;

no_worker:
  os_condition_destroy(&collector->resumed);
no_resumed:
  os_condition_destroy(&collector->stopped);
no_stopped:
  os_mutex_destroy(&collector->lock);
no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, collector, sizeof *collector);
no_memory:
  return heap_no_memory(heap, error);
}

void collector_close(tsr_heap *heap) {
  struct collector *collector = heap->collector;
  worker_close(&collector->worker);
  os_condition_destroy(&collector->resumed);
  os_condition_destroy(&collector->stopped);
  os_mutex_destroy(&collector->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, collector, sizeof *collector);
  heap->collector = NULL;
}

/* ---- stopping the world ----------------------------------------------------------------------- */

/* Waits until the claim that is on now has ended. Under the lock. */
static void world_wait(struct collector *collector, tsr_mutator *self) {
  uint64_t serial = collector->serial;
  while (collector->in_progress && collector->serial == serial) {
    os_mutex_unlock(&collector->lock);
    safepoint_block(self);
    os_mutex_lock(&collector->lock);
  }
}

/* Claims the world for `self`, unless another mutator has it. */
static collection_outcome world_claim(tsr_mutator *self, bool to_collect) {
  struct collector *collector = self->heap->collector;
  collection_outcome outcome = COLLECTION_RAN;
  os_mutex_lock(&collector->lock);
  /* Collections without a pause between them would keep binders out for ever. */
  while (collector->binders > 0 && collector->claims == 0) {
    os_condition_wait(&collector->resumed, &collector->lock);
  }
  if (to_collect && collector->disabled > 0) {
    outcome = COLLECTION_DISABLED;
  } else if (collector->in_progress) {
    world_wait(collector, self);
    outcome = COLLECTION_WAITED;
  } else {
    collector->in_progress = true;
    collector->claims++;
    collector->serial++;
    collector->started += to_collect;
  }
  os_mutex_unlock(&collector->lock);
  return outcome;
}

/*
 * Lets the world run. The claim ends before anybody is resumed, so that whoever sees it taken can
 * rely on a resume still to come; binding opens again after the last has been resumed.
 */
void world_yield(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  os_mutex_lock(&collector->lock);
  collector->in_progress = false;
  collector->finished = collector->started;
  os_mutex_unlock(&collector->lock);
  safepoint_resume_all(self->heap, self);
  os_mutex_lock(&collector->lock);
  collector->claims--;
  os_condition_wake_all(&collector->resumed);
  os_mutex_unlock(&collector->lock);
}

/* ---- the phases ---------------------------------------------------------------------------------------- */

static void collection_visit_roots(tsr_heap *heap, tsr_visitor *visitor) {
  roots_visit(heap, visitor);
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    roots_visit_mutator(m->mutator, visitor);
  }
}

/* Every pair that Tessera knows is empty before any mutator runs again. */
static void collection_revoke_pairs(const struct collector *collector) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    bump_revoke_all(m->mutator);
  }
}

static void collection_check_revoked(const struct collector *collector) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next)
    bump_check_revoked(m->mutator);
}

static void collection_trace_roots(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  struct worker *worker = visitor->context;
  worker->heap->plan->visit_slots(worker, first, count);
}

static void collection_trace(tsr_heap *heap) {
  struct worker *worker = &heap->collector->worker;
  worker_reset(worker);
  heap->phase = "prepare";
  heap->plan->prepare(heap, worker);
  heap->phase = "roots";
  tsr_visitor visitor = {.visit = collection_trace_roots, .context = worker};
  collection_visit_roots(heap, &visitor);
  worker_reach_immortal(worker);
  heap->phase = "trace";
  heap->plan->trace(worker);
  heap->phase = "release";
  heap->plan->release(heap, worker);
  heap->phase = NULL;
  roots_clean_stacks(heap);
}

/* Whether the heap keeps its rules; TSR_CORRUPT: not. */
static tsr_status collection_examine(tsr_heap *heap, struct verifier *verifier, tsr_error *error) {
  tsr_visitor visitor = {.visit = verifier_visit_roots, .context = verifier};
  verifier_begin(verifier);
  collection_visit_roots(heap, &visitor);
  return verifier_end(verifier, error);
}

/* With the option verify: aborts with a report where a rule is broken. */
static void collection_check(tsr_heap *heap, const char *when) {
  if (heap->verifier == NULL) return;
  heap->phase = when;
  tsr_error error;
  tsr_status status = collection_examine(heap, heap->verifier, &error);
  if (status == TSR_CORRUPT) verifier_abort(heap->verifier);
  if (status != TSR_OK) heap_report(heap, NULL, &error);
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
  collection_check(heap, "before the collection");
  collection_check_revoked(collector);
  collection_trace(heap);
  block_map_end_collection(&heap->blocks);
  heap_resize(heap);
  collection_check(heap, "after the collection");

  record->number = collector->started;
  record->plan = heap->plan->name;
  record->after_bytes = collection_used_bytes(heap);
  record->live_bytes = collector->worker.live_bytes;
  record->committed_bytes = os_atomic_load(&heap->account.total.bytes);
  record->workers = 1;
}

collection_outcome collection_run(tsr_mutator *self, const char *cause,
                                  void (*before_resume)(void *context), void *context) {
  tsr_heap *heap = self->heap;
  uint64_t begin_ns = os_clock_ns();
  collection_outcome outcome = world_claim(self, true);
  if (outcome != COLLECTION_RAN) return outcome;
  safepoint_stop_all(heap, self);
  uint64_t begin_cpu_ns = os_thread_cpu_ns();
  tsr_collection record = {.cause = cause};
  collection_carry_out(heap, &record);
  if (before_resume != NULL) before_resume(context);
  record.pause_cpu_ns = os_thread_cpu_ns() - begin_cpu_ns;
  record.pause_ns = os_clock_ns() - begin_ns;
  if (heap->binding->collection_ended != NULL) heap->binding->collection_ended(heap->vm, &record);
  report_collection(heap, &record);
  world_yield(self);
  record.pause_ns = os_clock_ns() - begin_ns;
  report_pause(heap, &record);
  return COLLECTION_RAN;
}

/* ---- requests --------------------------------------------------------------------------------- */

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

/* Whether a collection has ended that began after `seen` had. */
static bool collection_came_after(struct collector *collector, uint64_t seen) {
  os_mutex_lock(&collector->lock);
  bool came = collector->finished > seen;
  os_mutex_unlock(&collector->lock);
  return came;
}

static uint64_t collections_started(struct collector *collector) {
  os_mutex_lock(&collector->lock);
  uint64_t started = collector->started;
  os_mutex_unlock(&collector->lock);
  return started;
}

tsr_status collection_request(tsr_mutator *self, tsr_error *error) {
  tsr_heap *heap = self->heap;
  if (!heap->plan->collects) {
    return error_set(error, TSR_UNSUPPORTED, "plan %s never collects", heap->plan->name);
  }
  tsr_status status = mutator_check_managed(self, "tsr_collect", error);
  if (status != TSR_OK) return status;
  uint64_t seen = collections_started(heap->collector);
  do {
    collection_outcome outcome = collection_run(self, "request", NULL, NULL);
    if (outcome == COLLECTION_RAN) return TSR_OK;
    if (outcome == COLLECTION_DISABLED) {
      return error_set(error, TSR_BUSY, "collection is disabled; tsr_collection_enable() first");
    }
  } while (!collection_came_after(heap->collector, seen));
  return TSR_OK;
}

/* ---- the world stopped for something else ----------------------------------------------------------- */

tsr_status world_stop(tsr_mutator *self, const char *function, tsr_error *error) {
  tsr_heap *heap = self->heap;
  tsr_status status = mutator_check_managed(self, function, error);
  if (status != TSR_OK) return status;
  if ((heap->binding->does & TSR_DOES_SAFEPOINTS) == 0 &&
      os_atomic_load(&heap->bound_mutators) > 1) {
    return error_set(error, TSR_MISMATCH,
                     "%s stops the other mutators, and the binding does not declare "
                     "TSR_DOES_SAFEPOINTS",
                     function);
  }
  while (world_claim(self, false) != COLLECTION_RAN)
    continue;
  safepoint_stop_all(heap, self);
  return TSR_OK;
}

void world_revoke_pairs(tsr_heap *heap, const tsr_mutator *except) {
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    if (m->mutator == except) continue;
    bump_revoke_all(m->mutator);
    bump_check_revoked(m->mutator);
  }
}

tsr_status collection_enumerate(tsr_mutator *self, tsr_object_callback callback, void *context,
                                tsr_error *error) {
  tsr_status status = world_stop(self, "tsr_enumerate_objects", error);
  if (status != TSR_OK) return status;
  world_revoke_pairs(self->heap, NULL);
  spaces_enumerate(self->heap, callback, context);
  world_yield(self);
  return TSR_OK;
}

/* Whether no pair of any mutator is stale. */
static tsr_status collection_examine_pairs(const tsr_heap *heap, tsr_error *error) {
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    const tsr_bump_pointer *stale = bump_stale_pair(m->mutator);
    if (stale == NULL) continue;
    return error_set(
        error, TSR_CORRUPT,
        "verify: broken: no bump pair is stale: the pair at %p of the mutator of thread "
        "%p holds a buffer that a collection took back",
        (const void *)stale, m->mutator->vm_thread);
  }
  return TSR_OK;
}

/* Whether every buffer could be walked. */
static tsr_status collection_examine_buffers(const tsr_heap *heap, tsr_error *error) {
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    if (m->unwalkable == 0) continue;
    return error_set(
        error, TSR_CORRUPT,
        "verify: broken: an object lies in its buffer as a whole: object %p, which mutator "
        "%p has allocated",
        (void *)m->unwalkable, (void *)m->mutator);
  }
  return TSR_OK;
}

static tsr_status collection_examine_once(tsr_heap *heap, tsr_error *error) {
  tsr_status status = collection_examine_pairs(heap, error);
  if (status != TSR_OK) return status;
  collection_revoke_pairs(heap->collector);
  struct verifier *verifier = heap->verifier != NULL ? heap->verifier : verifier_create(heap);
  if (verifier == NULL) {
    return error_set(error, TSR_OUT_OF_MEMORY, "tsr_heap_verify: no memory for its tables");
  }
  status = collection_examine(heap, verifier, error);
  if (verifier != heap->verifier) verifier_destroy(verifier);
  return status == TSR_OK ? collection_examine_buffers(heap, error) : status;
}

tsr_status collection_verify(tsr_mutator *self, tsr_error *error) {
  tsr_status status = world_stop(self, "tsr_heap_verify", error);
  if (status != TSR_OK) return status;
  status = collection_examine_once(self->heap, error);
  world_yield(self);
  return status;
}
