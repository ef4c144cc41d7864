/*
 * One collection: claim, stop, prepare, roots, trace, release, revoke, resume.
 */
#include <string.h>

#include "core/alloc/bump.h"
#include "core/collect/collector.h"
#include "core/collect/memory_requests.h"
#include "core/object/reference.h"
#include "core/os/error.h"
#include "core/os/machine.h"
#include "core/trace/finalizers.h"
#include "core/trace/identities.h"
#include "core/trace/marking.h"
#include "core/trace/pins.h"
#include "core/trace/remembered.h"
#include "core/trace/weak.h"
#include "core/trace/weak_tables.h"
#include "core/verify/verify.h"

/* ---- the collector ------------------------------------------------------------------------------------- */

/* The stack that a collection runs on: for callbacks of the VM, mostly. Less in small heaps. */
#define COLLECTOR_STACK_LEAST ((size_t)64 << 10)
#define COLLECTOR_STACK_MOST  ((size_t)256 << 10)
#define COLLECTOR_STACK_SHARE 64

static bool collector_open_stack(tsr_heap *heap, struct collector *collector) {
  size_t page = os_page_bytes();
  size_t bytes = (size_t)heap->options.values.heap_max / COLLECTOR_STACK_SHARE / page * page;
  if (bytes < COLLECTOR_STACK_LEAST) bytes = COLLECTOR_STACK_LEAST;
  if (bytes > COLLECTOR_STACK_MOST) bytes = COLLECTOR_STACK_MOST;
  return memory_stack_create(&collector->stack, &collector->stack_mapping, &heap->account,
                             MEMORY_INSTANCE, "collector's stack", bytes);
}

tsr_status collector_open(tsr_heap *heap, tsr_error *error) {
  struct collector *collector = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *collector);
  if (collector == NULL) goto no_memory;
  if (!os_mutex_create(&collector->lock)) goto no_lock;
  if (!os_condition_create(&collector->stopped)) goto no_stopped;
  if (!os_condition_create(&collector->resumed)) goto no_resumed;
  if (!collector_open_stack(heap, collector)) goto no_stack;
  heap->collector = collector;
  return TSR_OK;

no_stack:
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
  memory_stack_destroy(&collector->stack, &collector->stack_mapping);
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
  /* Collections without a pause between them would keep who binds out for ever, and who unbinds in. Who waits here may not
     be waited for: once the world is claimed this mutator stops for that. */
  while (collector->passers > 0 && !collector->in_progress) {
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
  if (!self->heap->minor) collector->finished = collector->started;
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
  finalizers_visit(heap, visitor);
  weak_tables_visit(heap, visitor);
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    roots_visit_mutator(m->mutator, visitor);
  }
}

/* Every pair that Tessera knows is empty before any mutator runs again, and what mutators have noted is the heap's. A trace
   needs no start bits in the movable arena; whoever looks at objects that nobody reached does. */
static void collection_take_in(tsr_heap *heap) {
  for (struct tsr_mutator_private *m = heap->collector->mutators; m != NULL; m = m->next) {
    no_alloc_check(m->mutator, "a stop"); /* by a VM's own means; Tessera's have met it */
    bump_revoke_all(m->mutator);
    remembered_take_over(m);
  }
  if (heap->verifies || !heap->plan->movable_arena) spaces_retire_blocks(heap);
}

static void collection_check_revoked(const struct collector *collector) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next)
    bump_check_revoked(m->mutator);
}

static void collection_trace_slots(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  struct worker *worker = visitor->context;
  heap_form(worker->heap)->visit_slots(worker, first, count);
}

static void collection_update_slots(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  struct worker *worker = visitor->context;
  heap_form(worker->heap)->update_slots(worker, first, count);
}

/* ---- objects that are kept where they are ------------------------------------------------------------ */

/* What is done with each pinned object, and each that an ambiguous word may refer to. */
typedef struct keeping {
  tsr_heap *heap;
  void (*keep)(void *context, tsr_ref object);
  void *context;
} keeping;

static void keep_pinned(void *context, tsr_ref object) {
  const keeping *k = context;
  k->keep(k->context, object);
}

static void keep_address(const keeping *k, uintptr_t address) {
  tsr_ref object = spaces_object_of(k->heap, address);
  bool interior = (k->heap->binding->needs & TSR_NEEDS_INTERIOR_POINTERS) != 0;
  if (object == NULL || (!interior && (uintptr_t)object != address)) return;
  k->keep(k->context, object);
}

static void keep_ambiguous(void *context, uint64_t word, const char *name) {
  (void)name;
  const keeping *k = context;
  uintptr_t address = reference_address(&k->heap->references, word);
  keep_address(k, (uintptr_t)word);
  if (address != (uintptr_t)word) keep_address(k, address);
}

static void collection_keep(tsr_heap *heap, void (*keep)(void *context, tsr_ref object),
                            void *context) {
  keeping k = {.heap = heap, .keep = keep, .context = context};
  pins_each(heap->pins, keep_pinned, &k);
  roots_each_ambiguous(heap, keep_ambiguous, &k);
}

static void collection_pin(void *context, tsr_ref object) {
  tsr_heap *heap = context;
  heap_form(heap)->pin(heap, object);
}

static void collection_reach(void *context, tsr_ref object) {
  struct worker *worker = context;
  heap_form(worker->heap)->reach(worker, object);
}

static void collection_examine_kept(void *context, tsr_ref object) {
  verifier_visit_object(context, object, "pin or ambiguous word");
}

/* ---- trace and release --------------------------------------------------------------------------------- */

/* Returns the time that the roots took, and weak references: it does not depend on what was allocated. */
static uint64_t collection_trace(tsr_heap *heap, tsr_collection *record) {
  struct team *team = heap->team;
  const struct plan *form = heap_form(heap);
  heap->phase = "prepare";
  if (form->prepare != NULL) form->prepare(heap);
  uint64_t begin_ns = os_clock_ns();
  /* A block is kept before anything in it is reached, else an object would have been moved out of it. */
  collection_keep(heap, collection_pin, heap);
  heap->phase = "roots";
  collection_keep(heap, collection_reach, &team->first);
  tsr_visitor visitor = {.visit = collection_trace_slots, .context = &team->first};
  collection_visit_roots(heap, &visitor);
  uint64_t roots_ns = os_clock_ns() - begin_ns;
  if (heap->minor) {
    remembered_take_slots(&team->first, false);
  } else {
    worker_reach_immortal(&team->first);
  }
  heap->phase = "trace";
  team_trace(team);
  heap->phase = "weak references";
  begin_ns = os_clock_ns();
  weak_process(heap, record);
  return roots_ns + os_clock_ns() - begin_ns;
}

/* Returns the bytes of what was reached. */
static size_t collection_release(tsr_heap *heap) {
  const struct plan *form = heap_form(heap);
  if (form->relocate != NULL) {
    heap->phase = "relocate";
    form->relocate(heap);
    tsr_visitor visitor = {.visit = collection_update_slots, .context = &heap->team->first};
    collection_visit_roots(heap, &visitor);
    weak_visit(heap, &visitor);
    identities_forward(heap);
  }
  weak_forward(heap);
  heap->phase = "release";
  size_t live_bytes = form->release(heap);
  roots_clean_stacks(heap);
  pins_end_collection(heap);
  heap->phase = NULL;
  return live_bytes;
}

/* Whether the heap keeps its rules when so many collections are over; TSR_CORRUPT: not. */
static tsr_status collection_examine(tsr_heap *heap, struct verifier *verifier,
                                     uint64_t collections, tsr_error *error) {
  tsr_visitor visitor = {.visit = verifier_visit_roots, .context = verifier};
  verifier_begin(verifier, (uint32_t)collections);
  collection_keep(heap, collection_examine_kept, verifier);
  collection_visit_roots(heap, &visitor);
  weak_visit(heap, &visitor);
  return verifier_end(verifier, error);
}

/* With the option verify: aborts with a report where a rule is broken. */
static void collection_check(tsr_heap *heap, const char *when, uint64_t collections) {
  if (heap->verifier == NULL) return;
  heap->phase = when;
  tsr_error error;
  tsr_status status = collection_examine(heap, heap->verifier, collections, &error);
  if (status == TSR_CORRUPT) verifier_abort(heap->verifier);
  if (status != TSR_OK) heap_report(heap, NULL, &error);
  heap->phase = NULL;
}

static uint64_t collection_used_bytes(const tsr_heap *heap) {
  return (uint64_t)heap->blocks.used_blocks * BLOCK_BYTES;
}

/* Trace and release, with their times. */
static void collection_measure(tsr_heap *heap, tsr_collection *record) {
  struct team *team = heap->team;
  team_gather(team, heap->minor);
  nursery_sample sample = {.blocks =
                               nursery_filled_blocks(heap, copy_space_blocks(&heap->spaces->copy)),
                           .large_blocks = large_space_young_blocks(&heap->spaces->large)};
  uint64_t begin_ns = os_clock_ns(), begin_cpu_ns = team_cpu_ns(team);
  sample.roots_ns = collection_trace(heap, record);
  uint64_t traced_ns = os_clock_ns();
  record->trace_ns = traced_ns - begin_ns;
  record->trace_cpu_ns = team_cpu_ns(team) - begin_cpu_ns;
  record->live_bytes = collection_release(heap);
  size_t live_bytes = heap->minor ? team_copied_bytes(team) : record->live_bytes;
  sample.survived_bytes = team_note_live(team, live_bytes, record->live_bytes);
  uint64_t end_ns = os_clock_ns();
  record->release_ns = end_ns - traced_ns;
  if (!heap->minor) return;
  team_note_pace(team, record->trace_ns - sample.roots_ns);
  sample.rest_ns = end_ns - begin_ns - sample.roots_ns;
  nursery_learn(heap, &sample);
}

static void collection_sweep(tsr_heap *heap, tsr_collection *record) {
  size_t live_bytes;
  if (!marking_sweep_step(heap, &live_bytes)) return;
  record->live_bytes += live_bytes;
  record->swept = 1;
}

/* The part of a minor collection's pause that belongs to the old generation: begins a cycle, or goes on with it, or
   ends it. */
static void collection_mark(tsr_heap *heap, tsr_collection *record) {
  if (heap->marking == NULL || !heap->minor) return;
  marking_gather(heap);
  if (!heap_is_sweeping(heap)) {
    if (!heap_is_marking(heap) && marking_is_due(heap)) marking_begin(heap);
    if (!heap_is_marking(heap) || !marking_step(heap, record->trace_ns + record->release_ns) ||
        !marking_may_finish(heap)) {
      return;
    }
    marking_finish(heap, record);
    record->remark = 1;
  }
  collection_sweep(heap, record);
}

/* What may be allocated between two collections of a program that rests, as a share of what is in use. */
#define IDLE_SHARE 256

/* Whether the VM asks again without having used the room that the collection before had made. It will not need that
   room soon then, nor what a copy takes. */
static bool collection_is_idle(const tsr_heap *heap, const tsr_collection *record) {
  if (strcmp(record->cause, COLLECTION_REQUEST) != 0) return false;
  return heap_allocated_since(heap) <= collection_used_bytes(heap) / IDLE_SHARE;
}

/* One collection, in the hands of the thread that stopped the world. */
typedef struct collection_run_state {
  tsr_heap *heap;
  uint64_t begin_ns; /* of the pause */
  uint64_t apart_ns; /* of it, what verifying took before the collection */
  uint64_t steps_ns; /* what the cycle that is under way took before it */
  bool of_young;     /* when it began, there was a young generation */
  tsr_collection record;
  void (*before_resume)(void *context);
  void *context;
} collection_run_state;

static void collection_choose_form(tsr_heap *heap, bool looked_at_all) {
  if (heap->plan->choose_form != NULL) heap->plan->choose_form(heap, looked_at_all);
}

static void collection_resize(const collection_run_state *run) {
  tsr_heap *heap = run->heap;
  const char *cause = run->record.cause;
  bool for_allocation = heap->emergency || strcmp(cause, COLLECTION_ALLOCATION) == 0 ||
                        strcmp(cause, COLLECTION_MARKING) == 0;
  sizing_pause pause = {.for_allocation = for_allocation,
                        .for_external = strcmp(cause, COLLECTION_EXTERNAL) == 0,
                        .begin_ns = run->begin_ns,
                        .apart_ns = run->apart_ns,
                        .steps_ns = run->steps_ns};
  if (run->record.swept != 0) pause.since_bytes = marking_since_bytes(heap);
  heap_resize(heap, &pause);
  if (heap->marking != NULL) marking_note_end(heap, &run->record);
}

/* The work of a collection, world stopped, on the collector's stack. */
static void collection_carry_out(void *context) {
  collection_run_state *run = context;
  tsr_heap *heap = run->heap;
  struct collector *collector = heap->collector;
  tsr_collection *record = &run->record;
  uint64_t begin_cpu_ns = os_thread_cpu_ns();
  const struct plan *form = heap_form(heap);
  run->of_young = form->generational;
  heap->minor = form->is_minor != NULL && form->is_minor(heap, record->cause);
  if (!heap->minor) collection_choose_form(heap, true);
  run->steps_ns = marking_spent_ns(heap);
  heap->traces = heap->minor ? TRACES_YOUNG : TRACES_ALL;
  record->minor = heap->minor;
  record->before_bytes = collection_used_bytes(heap);
  collection_take_in(heap);
  uint64_t apart_from_ns = os_clock_ns();
  collection_check(heap, "before the collection", collector->started - 1);
  run->apart_ns = os_clock_ns() - apart_from_ns;
  collection_check_revoked(collector);
  collection_measure(heap, record);
  collection_mark(heap, record);
  if (!heap->minor || record->remark != 0) {
    spaces_return_memory(heap, collection_is_idle(heap, record));
  }
  bool resizes = !heap->minor || record->swept != 0;
  if (resizes) collection_resize(run);
  team_disperse(heap->team);
  if (heap->minor) collection_choose_form(heap, record->remark != 0);
  collection_check(heap, "after the collection", collector->started);

  record->number = collector->started;
  record->plan = heap->plan->name;
  record->after_bytes = collection_used_bytes(heap);
  record->committed_bytes = os_atomic_load(&heap->account.total.bytes);
  record->workers = heap->team->active;
  if (run->before_resume != NULL) run->before_resume(run->context);
  memory_requests_end_collection(heap);
  record->pause_cpu_ns = team_cpu_ns(heap->team) - begin_cpu_ns;
  record->pause_ns = os_clock_ns() - run->begin_ns;
  if (heap->binding->collection_ended != NULL) heap->binding->collection_ended(heap->vm, record);
  report_collection(heap, record);
  if (resizes) heap_resume_clock(heap);
}

collection_outcome collection_run(tsr_mutator *self, const char *cause,
                                  void (*before_resume)(void *context), void *context) {
  tsr_heap *heap = self->heap;
  uint64_t begin_ns = os_clock_ns();
  collection_outcome outcome = world_claim(self, true);
  if (outcome != COLLECTION_RAN) return outcome;
  safepoint_stop_all(heap, self);
  heap->emergency = strcmp(cause, COLLECTION_EMERGENCY) == 0;
  heap->claim_blocks = self->private_part->claim_blocks;
  collection_run_state run = {.heap = heap,
                              .begin_ns = begin_ns,
                              .record = {.cause = cause},
                              .before_resume = before_resume,
                              .context = context};
  os_stack_call(&heap->collector->stack, collection_carry_out, &run);
  world_yield(self);
  run.record.pause_ns = os_clock_ns() - begin_ns;
  report_pause(heap, &run.record, run.of_young);
  return COLLECTION_RAN;
}

/* ---- steps of marking --------------------------------------------------------------------------- */

/* Everything is swept: the heap gets its size. */
static void step_end_sweep(collection_run_state *run) {
  collection_sweep(run->heap, &run->record);
  if (run->record.swept == 0) return;
  collection_resize(run);
  heap_resume_clock(run->heap);
}

static void step_carry_out(void *context) {
  collection_run_state *run = context;
  tsr_heap *heap = run->heap;
  uint64_t begin_cpu_ns = os_thread_cpu_ns();
  run->steps_ns = marking_spent_ns(heap);
  collection_take_in(heap);
  collection_check(heap, "before a step", heap->collector->started);
  collection_check_revoked(heap->collector);
  team_gather(heap->team, false);
  if (heap_is_sweeping(heap)) {
    step_end_sweep(run);
  } else {
    marking_step(heap, 0);
    run->record.workers = heap->marking->step_workers;
  }
  team_disperse(heap->team);
  collection_check(heap, "after a step", heap->collector->started);
  if (heap->verifier != NULL) verifier_watch(heap->verifier);
  run->record.before_bytes = run->record.after_bytes = collection_used_bytes(heap);
  run->record.committed_bytes = os_atomic_load(&heap->account.total.bytes);
  run->record.pause_cpu_ns = team_cpu_ns(heap->team) - begin_cpu_ns;
}

/* Claims the world, unless steps are not wanted. */
static bool step_claim(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  os_mutex_lock(&collector->lock);
  bool disabled = collector->disabled > 0;
  os_mutex_unlock(&collector->lock);
  return !disabled && world_claim(self, false) == COLLECTION_RAN;
}

void collection_step(tsr_mutator *self) {
  tsr_heap *heap = self->heap;
  uint64_t begin_ns = os_clock_ns();
  if (!step_claim(self)) return;
  safepoint_stop_all(heap, self);
  collection_run_state run = {.heap = heap,
                              .begin_ns = begin_ns,
                              .record = {.cause = COLLECTION_MARKING,
                                         .plan = heap->plan->name,
                                         .number = heap->collector->started,
                                         .workers = 1}};
  bool is_due = marking_step_is_due(heap); /* another mutator may have been quicker */
  if (is_due) os_stack_call(&heap->collector->stack, step_carry_out, &run);
  world_yield(self);
  run.record.pause_ns = os_clock_ns() - begin_ns;
  if (is_due) report_step(heap, &run.record);
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

/* Whether a collection of everything has ended that began after `seen` had. */
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

/* For `function`: collects by itself, or waits for a collection of everything that began after the call where there is nothing to do
   before the resume. */
static tsr_status collection_make(tsr_mutator *self, const char *function, const char *cause,
                                  void (*before_resume)(void *context), void *context,
                                  tsr_error *error) {
  struct collector *collector = self->heap->collector;
  tsr_status status = mutator_check_stoppable(self, function, error);
  if (status != TSR_OK) return status;
  uint64_t seen = collections_started(collector);
  do {
    collection_outcome outcome = collection_run(self, cause, before_resume, context);
    if (outcome == COLLECTION_RAN) return TSR_OK;
    if (outcome == COLLECTION_DISABLED) {
      return error_set(error, TSR_BUSY, "collection is disabled; tsr_collection_enable() first");
    }
  } while (before_resume != NULL || !collection_came_after(collector, seen));
  return TSR_OK;
}

tsr_status collection_request(tsr_mutator *self, tsr_error *error) {
  const struct plan *plan = self->heap->plan;
  if (plan->collects)
    return collection_make(self, "tsr_collect", COLLECTION_REQUEST, NULL, NULL, error);
  return error_set(error, TSR_UNSUPPORTED, "plan %s never collects", plan->name);
}

/* ---- the world stopped for something else ----------------------------------------------------------- */

tsr_status world_stop(tsr_mutator *self, const char *function, tsr_error *error) {
  tsr_heap *heap = self->heap;
  tsr_status status = mutator_check_stoppable(self, function, error);
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
    remembered_take_over(m);
  }
  if (except == NULL) spaces_retire_blocks(heap);
}

tsr_status collection_enumerate(tsr_mutator *self, tsr_object_callback callback, void *context,
                                tsr_error *error) {
  tsr_status status = world_stop(self, "tsr_enumerate_objects", error);
  if (status != TSR_OK) return status;
  world_revoke_pairs(self->heap, NULL);
  spaces_sweep_all(self->heap);
  spaces_enumerate(self->heap, callback, context);
  world_yield(self);
  return TSR_OK;
}

/* ---- freezing -------------------------------------------------------------------------------------- */

typedef struct freezing {
  tsr_heap *heap;
  bool succeeded;
} freezing;

static void collection_freeze_live(void *context) {
  freezing *f = context;
  f->succeeded = spaces_freeze(f->heap);
}

/* Under a plan that does not collect what is there is frozen, live or not. */
static tsr_status world_freeze(tsr_mutator *self, freezing *f, tsr_error *error) {
  tsr_status status = world_stop(self, "tsr_freeze", error);
  if (status != TSR_OK) return status;
  world_revoke_pairs(self->heap, NULL);
  collection_freeze_live(f);
  world_yield(self);
  return TSR_OK;
}

tsr_status collection_freeze(tsr_mutator *self, tsr_error *error) {
  freezing f = {.heap = self->heap};
  tsr_status status =
      self->heap->plan->collects
          ? collection_make(self, "tsr_freeze", "freeze", collection_freeze_live, &f, error)
          : world_freeze(self, &f, error);
  if (status != TSR_OK || f.succeeded) return status;
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "tsr_freeze: the heap's maximum leaves no room for the tables of frozen blocks");
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
  collection_take_in(heap);
  spaces_retire_blocks(heap);
  spaces_sweep_all(heap);
  struct verifier *verifier = heap->verifier != NULL ? heap->verifier : verifier_create(heap);
  if (verifier == NULL) {
    return error_set(error, TSR_OUT_OF_MEMORY, "tsr_heap_verify: no memory for its tables");
  }
  status = collection_examine(heap, verifier, heap->collector->started, error);
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
