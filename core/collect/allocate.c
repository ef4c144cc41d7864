/*
 * The slow path of allocation.
 *
 * The ladder: take memory -> collect -> let the heap grow towards its maximum -> collect once more, as
 * an emergency -> out of memory. A thread that collects takes what it needs before it lets the others
 * run, so no other thread can be quicker, and two collections of its own that did not help mean that there
 * is no memory.
 */
#include "core/collect/allocate.h"

#include "core/collect/collector.h"
#include "core/os/error.h"

/* ---- taking memory ---------------------------------------------------------------------------- */

/* Who wants what. */
typedef struct claim {
  tsr_mutator *mutator;
  bump_slot *slot; /* whose pair serves it, where it is bumped */
  const allocation *request;
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

/* Without a collection: growing, and past the maximum where the request allows that. */
static bool grant_take_at_once(const claim *c, grant *taken) {
  if (grant_take(c, MEMORY_WITHIN_LIMIT, taken)) return true;
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
  own->succeeded = grant_take(own->claim, MEMORY_WITHIN_LIMIT, &own->taken);
}

/* Climbs the ladder. False: at its end. */
static bool grant_climb(const claim *c, grant *taken) {
  if (!c->mutator->heap->plan->collects) return grant_take(c, MEMORY_WITHIN_LIMIT, taken);
  if (grant_take(c, MEMORY_WITHIN_SIZE, taken)) return true;
  static const char *const causes[] = {"allocation", COLLECTION_EMERGENCY};
  for (size_t rung = 0; rung < sizeof causes / sizeof causes[0];) {
    errand own = {.claim = c};
    switch (collection_run(c->mutator, causes[rung], errand_run, &own)) {
    case COLLECTION_RAN:
      *taken = own.taken;
      if (own.succeeded) return true;
      rung++;
      break;
    case COLLECTION_WAITED:
      if (grant_take(c, MEMORY_WITHIN_SIZE, taken)) return true;
      break;
    case COLLECTION_DISABLED:
      return grant_take(c, MEMORY_WITHIN_LIMIT, taken);
    }
  }
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
  return !allocation_is_hopeless(heap, a) &&
         heap_could_admit(heap, default_blocks_for(a), staying_blocks_for(a)) &&
         block_map_system_refused(&heap->blocks);
}

static void *allocate_fail(tsr_mutator *mutator, const allocation *a, bool calls_back,
                           tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  bool overcommits = (a->request & TSR_ALLOC_OVERCOMMIT) != 0;
  bool system = overcommits || allocation_failed_in_system(heap, a);
  tsr_oom oom = {.kind = system ? TSR_OOM_SYSTEM : TSR_OOM_HEAP,
                 .requested_bytes = a->bytes,
                 .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                 .heap_max_bytes = heap->account.limit_bytes};
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for %zu bytes: %s (%zu of %zu bytes committed)",
            oom.requested_bytes,
            overcommits ? "the system, or the heap's address space, has no more"
            : system    ? "the system refused more below the heap's maximum"
                        : "the heap's maximum is reached",
            oom.committed_bytes, oom.heap_max_bytes);
  if (calls_back && heap->binding->out_of_memory != NULL) {
    heap->binding->out_of_memory(heap->vm, mutator, &oom);
  }
  return NULL;
}

/* A collection that stress asks for, at the latest before this allocation. */
static void allocate_stress(tsr_mutator *mutator) {
  const tsr_heap *heap = mutator->heap;
  uint64_t stress = heap->options.values.stress;
  if (stress == 0 || !heap->plan->collects) return;
  if (stress != 1 && mutator->private_part->stress_bytes < stress) return;
  mutator->private_part->stress_bytes = 0;
  (void)collection_run(mutator, "stress", NULL, NULL);
}

void *allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a, tsr_error *error) {
  if (mutator_check_managed(mutator, "an allocation", error) != TSR_OK) return NULL;
  uintptr_t bumped = allocation_is_bumped(a) ? bump_allocate(mutator, slot, a) : 0;
  if (bumped != 0) return (void *)bumped;

  bool may_collect = (a->request & (TSR_ALLOC_NO_COLLECT | TSR_ALLOC_OVERCOMMIT)) == 0;
  bool calls_back = may_collect && (a->request & TSR_ALLOC_NO_OOM_CALLBACK) == 0;
  if (allocation_is_hopeless(mutator->heap, a)) return allocate_fail(mutator, a, calls_back, error);
  if (may_collect) allocate_stress(mutator);
  claim c = {.mutator = mutator, .slot = slot, .request = a};
  grant taken = {.object = 0};
  bool found = may_collect ? grant_climb(&c, &taken) : grant_take_at_once(&c, &taken);
  return found ? grant_use(&c, &taken) : allocate_fail(mutator, a, calls_back, error);
}
