/*
 * The slow path of allocation.
 *
 * The ladder: take memory -> collect -> let the heap grow towards its maximum -> collect once more, as
 * an emergency -> call the reclaimers, and collect behind each that gave something up -> out of memory. A
 * heap that is overloaded goes from the first rung to the reclaimers. A thread that collects takes what it needs before
 * it lets the others run, so no other thread can be quicker, and two collections of its own that did not help mean
 * that there is no memory.
 */
#include "core/collect/allocate.h"

#include "core/alloc/reservation.h"
#include "core/collect/collector.h"
#include "core/collect/low_memory.h"
#include "core/collect/memory_requests.h"
#include "core/os/error.h"
#include "core/trace/marking.h"

/* ---- taking memory ---------------------------------------------------------------------------- */

/* Who wants what. */
typedef struct claim {
  tsr_mutator *mutator;
  bump_slot *slot;           /* whose pair serves it, where it is bumped */
  const allocation *request; /* NULL: a reservation */
  size_t buffers;            /* of a reservation */
  size_t bytes;
  bool overloaded; /* it was not collected for, since collections take nearly all the time */
} claim;

/* Memory taken for one allocation: a buffer that it goes into, or an object with blocks or pages of its
   own. */
typedef struct grant {
  bump_buffer buffer;
  uintptr_t object;
} grant;

/* An object with blocks or pages of its own. */
static uintptr_t grant_take_object(tsr_heap *heap, const allocation *a,
                                   memory_allowance allowance) {
  bool immortal = allocation_placement(a) == TSR_IMMORTAL;
  bool code = (a->semantics & TSR_CODE) != 0;
  if (allocation_is_large(a)) {
    large_kind kind = {.immortal = immortal, .sealable = allocation_is_sealable(a), .code = code};
    return large_space_allocate(&heap->spaces->large, a->bytes, a->align, a->offset, kind,
                                allowance);
  }
  arena *pages = &heap->spaces->arenas[immortal ? ARENA_SEALABLE_IMMORTAL : ARENA_SEALABLE];
  return arena_take_pages(pages, a->bytes, a->align, a->offset, code, allowance);
}

static bool grant_take(const claim *c, memory_allowance allowance, grant *taken) {
  tsr_mutator *mutator = c->mutator;
  const allocation *a = c->request;
  if (a == NULL) return reservation_open(mutator, c->buffers, allowance);
  if (allocation_is_bumped(a)) return bump_take(mutator, c->slot, a, allowance, &taken->buffer);
  taken->object = grant_take_object(mutator->heap, a, allowance);
  if (taken->object == 0) return false;
  os_atomic_add_full(&mutator->heap->bytes_allocated, a->bytes);
  mutator->private_part->stress_bytes += a->bytes;
  return true;
}

static bool allocation_may_move(const allocation *a) {
  return allocation_is_bumped(a) && allocation_placement(a) == TSR_DEFAULT;
}

static size_t default_blocks_for(const allocation *a) {
  return allocation_may_move(a) ? 1 : 0;
}

static size_t staying_blocks_for(const allocation *a) {
  if (allocation_is_large(a)) return large_space_blocks_for(a->bytes, a->align, a->offset);
  return allocation_may_move(a) ? 0 : 1;
}

/* Within the maximum, also where that takes the rest of a sweep. */
static bool grant_take_most(const claim *c, grant *taken) {
  tsr_heap *heap = c->mutator->heap;
  if (grant_take(c, MEMORY_WITHIN_LIMIT, taken)) return true;
  if (!heap_is_sweeping(heap)) return false;
  spaces_sweep_all(heap);
  return grant_take(c, MEMORY_WITHIN_LIMIT, taken);
}

/* Without a collection: growing, and past the maximum where the request allows that. */
static bool grant_take_at_once(const claim *c, grant *taken) {
  if (grant_take_most(c, taken)) return true;
  return (c->request->request & TSR_ALLOC_OVERCOMMIT) != 0 &&
         grant_take(c, MEMORY_OVER_LIMIT, taken);
}

/* The object in memory that was taken for it. */
static void *grant_use(const claim *c, const grant *taken) {
  if (!allocation_is_bumped(c->request)) return (void *)taken->object;
  return (void *)bump_install(c->mutator, c->slot, taken->buffer, c->request);
}

/* ---- the ladder --------------------------------------------------------------------------------- */

/* What a collecting thread does before it lets the others run. */
typedef struct errand {
  const claim *claim;
  grant taken;
  bool succeeded;
} errand;

static void errand_run(void *context) {
  errand *own = context;
  own->succeeded = grant_take_most(own->claim, &own->taken);
}

/* Collects, itself or by another mutator, until it has what it claims, or a collection of its own did not
   help. */
static bool grant_collect(const claim *c, const char *cause, grant *taken) {
  if (!c->mutator->heap->plan->collects) return grant_take(c, MEMORY_WITHIN_LIMIT, taken);
  for (;;) {
    errand own = {.claim = c};
    switch (collection_run(c->mutator, cause, errand_run, &own)) {
    case COLLECTION_RAN:
      *taken = own.taken;
      return own.succeeded;
    case COLLECTION_WAITED:
      if (grant_take(c, MEMORY_WITHIN_SIZE, taken)) return true;
      break;
    case COLLECTION_DISABLED:
      return grant_take_most(c, taken);
    }
  }
}

static bool grant_reclaim(const claim *c, grant *taken) {
  for (uint64_t last = 0; reclaimers_call(c->mutator, c->bytes, &last);) {
    if (grant_collect(c, "reclaim", taken)) return true;
  }
  return false;
}

static bool grant_collect_twice(const claim *c, grant *taken) {
  size_t *claim_blocks = &c->mutator->private_part->claim_blocks;
  *claim_blocks = c->request == NULL ? 0 : staying_blocks_for(c->request);
  bool taken_soon = grant_collect(c, COLLECTION_ALLOCATION, taken);
  *claim_blocks = 0;
  return taken_soon || grant_collect(c, COLLECTION_EMERGENCY, taken);
}

/* Climbs the ladder. False: at its end. */
static bool grant_climb(claim *c, grant *taken) {
  tsr_heap *heap = c->mutator->heap;
  if (grant_take(c, MEMORY_WITHIN_SIZE, taken)) return true;
  c->overloaded = heap_take_overload(heap);
  if (!c->overloaded && grant_collect_twice(c, taken)) return true;
  if (grant_reclaim(c, taken)) return true;
  heap_forget_overload(heap);
  return false;
}

/* Whether the heap could not hold the object even if nothing else were in it. */
static bool allocation_is_hopeless(const tsr_heap *heap, const allocation *a) {
  if (!allocation_is_large(a)) return false;
  size_t blocks = staying_blocks_for(a);
  bool overcommits = (a->request & TSR_ALLOC_OVERCOMMIT) != 0;
  size_t most = overcommits ? heap->blocks.block_count : heap->account.limit_bytes >> BLOCK_SHIFT;
  return blocks == 0 || blocks > most;
}

/* Whether it was the system, not the maximum, that refused. */
static bool allocation_failed_in_system(tsr_heap *heap, const allocation *a) {
  return heap_could_admit(heap, default_blocks_for(a), staying_blocks_for(a)) &&
         block_map_system_refused(&heap->blocks);
}

/* The last rung. `opens`: the emergency reserve is opened for it. */
static void allocate_call_back(tsr_mutator *mutator, tsr_oom *oom, bool opens) {
  const tsr_heap *heap = mutator->heap;
  if (heap->binding->out_of_memory == NULL) return;
  if (opens) oom->reserve_bytes = emergency_open(mutator);
  mutator->private_part->calls_back = true;
  heap->binding->out_of_memory(heap->vm, mutator, oom);
  mutator->private_part->calls_back = false;
  if (oom->reserve_bytes > 0) reservation_end(mutator);
}

static tsr_oom_kind allocation_failure(const claim *c, bool hopeless) {
  if (c->overloaded) return TSR_OOM_OVERLOAD;
  bool overcommits = (c->request->request & TSR_ALLOC_OVERCOMMIT) != 0;
  bool system =
      overcommits || (!hopeless && allocation_failed_in_system(c->mutator->heap, c->request));
  return system ? TSR_OOM_SYSTEM : TSR_OOM_HEAP;
}

static void *allocate_fail(const claim *c, bool calls_back, bool hopeless, tsr_error *error) {
  static const char *const reasons[] = {
      [TSR_OOM_HEAP] = "the heap's maximum is reached",
      [TSR_OOM_SYSTEM] = "the system, or the address space, has no more",
      [TSR_OOM_OVERLOAD] = "collections take nearly all the time (option collecting_most)"};
  const tsr_heap *heap = c->mutator->heap;
  tsr_oom oom = {.kind = allocation_failure(c, hopeless),
                 .requested_bytes = c->bytes,
                 .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                 .heap_max_bytes = heap->account.limit_bytes};
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for %zu bytes: %s (%zu of %zu bytes committed)",
            oom.requested_bytes, reasons[oom.kind], oom.committed_bytes, oom.heap_max_bytes);
  if (calls_back) allocate_call_back(c->mutator, &oom, !hopeless);
  return NULL;
}

/* Whether stress asks for a collection, at the latest before this allocation. */
static bool stress_is_due(const tsr_mutator *mutator) {
  uint64_t stress = mutator->heap->options.values.stress;
  return stress != 0 && (stress == 1 || mutator->private_part->stress_bytes >= stress);
}

/* A collection that is due though there may be memory. */
static void allocate_collect_due(tsr_mutator *mutator) {
  tsr_heap *heap = mutator->heap;
  const char *cause = NULL;
  if (marking_collection_is_due(heap)) cause = COLLECTION_MARKING;
  if (memory_requests_want_collection(heap)) cause = "memory request";
  if (heap_external_is_due(heap)) cause = COLLECTION_EXTERNAL;
  if (stress_is_due(mutator)) cause = COLLECTION_STRESS;
  if (cause == NULL && marking_step_is_due(heap)) collection_step(mutator);
  if (cause == NULL || !heap->plan->collects) return;
  mutator->private_part->stress_bytes = 0;
  (void)collection_run(mutator, cause, NULL, NULL);
}

void *allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a, tsr_error *error) {
  no_alloc_check(mutator, "an allocation");
  if (mutator_check_managed(mutator, "an allocation", error) != TSR_OK) return NULL;
  uintptr_t bumped = allocation_is_bumped(a) ? bump_allocate(mutator, slot, a) : 0;
  if (bumped != 0) return (void *)bumped;
  claim c = {.mutator = mutator, .slot = slot, .request = a, .bytes = a->bytes};
  grant taken = {.object = 0};
  if (reservation_is_open(mutator) && reservation_next(mutator, slot, a, &taken.buffer)) {
    return grant_use(&c, &taken);
  }
  if (heap_is_sweeping(mutator->heap)) marking_sweep_share(mutator->heap, a->bytes);
  bool may_collect = (a->request & (TSR_ALLOC_NO_COLLECT | TSR_ALLOC_OVERCOMMIT)) == 0 &&
                     !mutator->private_part->calls_back;
  bool calls_back = may_collect && (a->request & TSR_ALLOC_NO_OOM_CALLBACK) == 0;
  if (allocation_is_hopeless(mutator->heap, a)) {
    return allocate_fail(&c, calls_back, true, error);
  }
  if (may_collect) allocate_collect_due(mutator);
  bool found = may_collect ? grant_climb(&c, &taken) : grant_take_at_once(&c, &taken);
  return found ? grant_use(&c, &taken) : allocate_fail(&c, calls_back, false, error);
}

/* ---- reservations ------------------------------------------------------------------------------- */

/*
 * Between the end of the hold and the taking of its blocks no other mutator runs, where the VM's threads can be stopped, and
 * no thread takes another hold. What tables take meanwhile may be of the slack, so the blocks are taken past the limit: they
 * are less than the hold was. A VM's own resume empties copies of pairs, so the pairs have to be empty too.
 */
bool allocate_from_hold(tsr_mutator *mutator, memory_hold *hold) {
  tsr_heap *heap = mutator->heap;
  bool stopped = world_stop(mutator, "an allocation", NULL) == TSR_OK;
  if (stopped && heap->binding->resume_mutators != NULL) world_revoke_pairs(heap, NULL);
  size_t blocks = hold->blocks;
  os_mutex_lock(&heap->holding);
  hold_release(heap, hold);
  bool opened =
      reservation_open(mutator, blocks, stopped ? MEMORY_OVER_LIMIT : MEMORY_WITHIN_LIMIT);
  os_mutex_unlock(&heap->holding);
  if (stopped) world_yield(mutator);
  return opened;
}

tsr_status allocate_check_reserving(const tsr_mutator *mutator, const char *function,
                                    tsr_error *error) {
  if (mutator->private_part->calls_back) {
    return error_set(error, TSR_BUSY,
                     "%s: a callback for low memory has the reservation that it has", function);
  }
  return mutator_check_stoppable(mutator, function, error);
}

tsr_status allocate_reserve(tsr_mutator *mutator, size_t bytes, size_t largest, tsr_error *error) {
  tsr_status status = allocate_check_reserving(mutator, "tsr_reserve", error);
  if (status != TSR_OK) return status;
  const tsr_heap *heap = mutator->heap;
  if (bytes <= heap->account.limit_bytes) {
    claim c = {.mutator = mutator,
               .bytes = bytes,
               .buffers = reservation_buffers(mutator, bytes, largest)};
    grant taken;
    allocate_collect_due(mutator);
    if (grant_climb(&c, &taken)) return TSR_OK;
  }
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "tsr_reserve: the heap has no room for %zu bytes (%zu of %zu bytes committed)",
                   bytes, os_atomic_load(&heap->account.total.bytes), heap->account.limit_bytes);
}
