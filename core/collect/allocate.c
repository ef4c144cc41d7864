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

/* Memory taken for one allocation: a buffer that it goes into, or a large object. */
typedef struct grant {
  bump_buffer buffer;
  uintptr_t large;
} grant;

static bool grant_take(tsr_mutator *mutator, const allocation *a, grant *taken) {
  if (!allocation_is_large(a)) return bump_take(mutator, a, &taken->buffer);
  tsr_heap *heap = mutator->heap;
  taken->large = large_space_allocate(&heap->spaces->large, a->bytes, a->align, a->offset);
  if (taken->large == 0) return false;
  os_atomic_add_full(&heap->bytes_allocated, a->bytes);
  mutator->private_part->stress_bytes += a->bytes;
  return true;
}

static size_t default_blocks_for(const allocation *a) {
  return allocation_is_large(a) ? 0 : 1;
}

static size_t large_blocks_for(const allocation *a) {
  return allocation_is_large(a) ? large_space_blocks_for(a->bytes, a->align, a->offset) : 0;
}

/* Lets the heap grow for it. False: neither this thread nor another has made it larger than `limit_bytes`. */
static bool grant_grow(tsr_heap *heap, const allocation *a, size_t limit_bytes) {
  if (heap_admits(heap, default_blocks_for(a), large_blocks_for(a))) {
    return os_atomic_load(&heap->limit_bytes) != limit_bytes;
  }
  return heap_grow_to_admit(heap, default_blocks_for(a), large_blocks_for(a));
}

static bool grant_take_growing(tsr_mutator *mutator, const allocation *a, grant *taken) {
  tsr_heap *heap = mutator->heap;
  for (;;) {
    size_t limit_bytes = os_atomic_load(&heap->limit_bytes);
    if (grant_take(mutator, a, taken)) return true;
    if (!grant_grow(heap, a, limit_bytes)) return false;
  }
}

/* The object in memory that was taken for it. */
static void *grant_use(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a,
                       const grant *taken) {
  if (allocation_is_large(a)) return (void *)taken->large;
  return (void *)bump_install(mutator, pair, taken->buffer, a);
}

/* ---- the ladder --------------------------------------------------------------------------------- */

/* What a collecting thread does before it lets the others run. */
typedef struct errand {
  tsr_mutator *mutator;
  const allocation *request;
  grant taken;
  bool succeeded;
} errand;

static void errand_run(void *context) {
  errand *own = context;
  own->succeeded = grant_take_growing(own->mutator, own->request, &own->taken);
}

/* Climbs the ladder. False: at its end. */
static bool grant_climb(tsr_mutator *mutator, const allocation *a, grant *taken) {
  if (!mutator->heap->plan->collects) return grant_take_growing(mutator, a, taken);
  if (grant_take(mutator, a, taken)) return true;
  static const char *const causes[] = {"allocation", "emergency"};
  for (size_t rung = 0; rung < sizeof causes / sizeof causes[0];) {
    errand own = {.mutator = mutator, .request = a};
    switch (collection_run(mutator, causes[rung], errand_run, &own)) {
    case COLLECTION_RAN:
      *taken = own.taken;
      if (own.succeeded) return true;
      rung++;
      break;
    case COLLECTION_WAITED:
      if (grant_take(mutator, a, taken)) return true;
      break;
    case COLLECTION_DISABLED:
      return grant_take_growing(mutator, a, taken);
    }
  }
  return false;
}

/* Whether the heap could not hold the object even if nothing else were in it. */
static bool allocation_is_hopeless(const tsr_heap *heap, const allocation *a) {
  if (!allocation_is_large(a)) return false;
  size_t blocks = large_blocks_for(a);
  return blocks == 0 || blocks > heap->account.limit_bytes >> BLOCK_SHIFT;
}

/* Whether it was the system, not the maximum, that refused. */
static bool allocation_failed_in_system(tsr_heap *heap, const allocation *a) {
  return !allocation_is_hopeless(heap, a) &&
         heap_could_admit(heap, default_blocks_for(a), large_blocks_for(a)) &&
         block_map_system_refused(&heap->blocks);
}

static void *allocate_fail(tsr_mutator *mutator, const allocation *a, bool calls_back,
                           tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  bool system = allocation_failed_in_system(heap, a);
  tsr_oom oom = {.kind = system ? TSR_OOM_SYSTEM : TSR_OOM_HEAP,
                 .requested_bytes = a->bytes,
                 .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                 .heap_max_bytes = heap->account.limit_bytes};
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for %zu bytes: %s (%zu of %zu bytes committed)",
            oom.requested_bytes,
            system ? "the system refused more below the heap's maximum"
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

void *allocate(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a,
               tsr_error *error) {
  if (mutator_check_managed(mutator, "an allocation", error) != TSR_OK) return NULL;
  uintptr_t bumped = allocation_is_large(a) ? 0 : bump_allocate(pair, a);
  if (bumped != 0) return (void *)bumped;

  bool may_collect = (a->request & TSR_ALLOC_NO_COLLECT) == 0;
  bool calls_back = may_collect && (a->request & TSR_ALLOC_NO_OOM_CALLBACK) == 0;
  if (allocation_is_hopeless(mutator->heap, a)) return allocate_fail(mutator, a, calls_back, error);
  if (may_collect) allocate_stress(mutator);
  grant taken = {.large = 0};
  bool found =
      may_collect ? grant_climb(mutator, a, &taken) : grant_take_growing(mutator, a, &taken);
  return found ? grant_use(mutator, pair, a, &taken) : allocate_fail(mutator, a, calls_back, error);
}
