/*
 * The slow path of allocation.
 *
 * The ladder: take a buffer -> collect -> let the heap grow towards its maximum -> collect once
 * more, as an emergency -> out of memory. A request gives up when an emergency collection was followed by
 * no successful allocation of anybody, or when it has collected often enough by itself while others took
 * what was freed.
 */
#include "core/collect/allocate.h"

#include "core/collect/collector.h"
#include "core/object/layout.h"
#include "core/os/error.h"

#define COLLECTIONS_PER_REQUEST 5

/* ---- checks ---------------------------------------------------------------------------------------------- */

static const char *const placement_names[TSR_PLACEMENTS] = {"TSR_DEFAULT", "TSR_LARGE",
                                                            "TSR_IMMORTAL", "TSR_NON_MOVING"};

static tsr_status semantics_check(const tsr_heap *heap, tsr_semantics semantics, tsr_error *error) {
  uint32_t placement = semantics & TSR_PLACEMENT_MASK;
  uint32_t flags = semantics & ~(uint32_t)TSR_PLACEMENT_MASK;
  uint32_t known = TSR_LEAF | TSR_CODE | TSR_READ_ONLY;
  if (placement >= TSR_PLACEMENTS || (flags & ~known) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "semantics 0x%x is none: a placement is below %d, and flags are TSR_LEAF, "
                     "TSR_CODE and TSR_READ_ONLY",
                     semantics, TSR_PLACEMENTS);
  }
  if (flags != 0) {
    return error_set(error, TSR_UNSUPPORTED,
                     "the flags TSR_LEAF, TSR_CODE and TSR_READ_ONLY are not in this version "
                     "(semantics 0x%x)",
                     semantics);
  }
  if (heap->plan->allocators[placement] == TSR_ALLOCATOR_NONE) {
    return error_set(error, TSR_UNSUPPORTED, "plan %s has no placement %s in this version",
                     heap->plan->name, placement_names[placement]);
  }
  return TSR_OK;
}

static tsr_status request_check(uint32_t request, tsr_error *error) {
  uint32_t known = TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK;
  if ((request & TSR_ALLOC_OVERCOMMIT) != 0) {
    return error_set(error, TSR_UNSUPPORTED, "TSR_ALLOC_OVERCOMMIT is not in this version");
  }
  if ((request & ~known) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT, "request options 0x%x hold unknown bits",
                     request);
  }
  return TSR_OK;
}

tsr_status allocation_check(const tsr_heap *heap, allocation *a, tsr_error *error) {
  if (a->bytes == 0 || (a->bytes & (heap->object_align - 1)) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "a size of %zu bytes cannot be allocated: sizes are multiples of %zu and not "
                     "zero; round up with tsr_round_size()",
                     a->bytes, heap->object_align);
  }
  if (a->align == 0 || (a->align & (a->align - 1)) != 0 || a->align > TSR_MAX_ALIGN) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "an alignment of %zu is impossible: it must be a power of two, at most %u",
                     a->align, TSR_MAX_ALIGN);
  }
  if (a->offset % TSR_GRANULE != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT, "an offset of %zu is no multiple of %u",
                     a->offset, TSR_GRANULE);
  }
  tsr_status status = semantics_check(heap, a->semantics, error);
  if (status == TSR_OK) status = request_check(a->request, error);
  if (status != TSR_OK) return status;
  if (a->align < heap->object_align) {
    a->align = heap->object_align;
    a->offset = 0;
  }
  return TSR_OK;
}

/* ---- one attempt ------------------------------------------------------------------------------------------- */

static bool allocation_is_large(const allocation *a) {
  return a->bytes > TSR_MAX_INLINE_BYTES || (a->semantics & TSR_PLACEMENT_MASK) == TSR_LARGE;
}

static uintptr_t allocate_large(tsr_mutator *mutator, const allocation *a) {
  tsr_heap *heap = mutator->heap;
  uintptr_t result = large_space_allocate(&heap->spaces->large, a->bytes, a->align, a->offset);
  if (result == 0) return 0;
  os_atomic_add_full(&heap->bytes_allocated, a->bytes);
  mutator->private_part->stress_bytes += a->bytes;
  return result;
}

static void *allocate_try(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a) {
  uintptr_t result =
      allocation_is_large(a) ? allocate_large(mutator, a) : bump_refill(mutator, pair, a);
  if (result != 0) os_atomic_store(&mutator->heap->collector->progress, 1);
  return (void *)result;
}

/* ---- the ladder -------------------------------------------------------------------------------------------- */

/* What an allocation asks of the heap, in blocks. */
static size_t allocation_default_blocks(const allocation *a) {
  return allocation_is_large(a) ? 0 : 1;
}

static size_t allocation_large_blocks(const allocation *a) {
  return allocation_is_large(a) ? large_space_blocks_for(a->bytes, a->align, a->offset) : 0;
}

/* Whether the heap could not hold the object even if nothing else were in it. */
static bool allocation_is_hopeless(const tsr_heap *heap, const allocation *a) {
  if (!allocation_is_large(a)) return false;
  size_t blocks = allocation_large_blocks(a);
  return blocks == 0 || blocks > heap->account.limit_bytes >> BLOCK_SHIFT;
}

static bool allocate_grow(tsr_heap *heap, const allocation *a) {
  size_t default_blocks = allocation_default_blocks(a);
  size_t large_blocks = allocation_large_blocks(a);
  return !heap_admits(heap, default_blocks, large_blocks) &&
         heap_grow_to_admit(heap, default_blocks, large_blocks);
}

/* Whether the last collection was an emergency and nobody has got memory since. */
static bool allocate_is_exhausted(struct collector *collector) {
  if (os_atomic_load(&collector->progress) != 0) return false;
  os_mutex_lock(&collector->lock);
  bool exhausted = collector->last_was_emergency;
  os_mutex_unlock(&collector->lock);
  return exhausted;
}

static void allocate_collect(tsr_mutator *mutator, uint32_t collections) {
  struct collector *collector = mutator->heap->collector;
  bool emergency = collections > 0;
  if (!collection_run(mutator, emergency ? "emergency" : "allocation")) return;
  os_mutex_lock(&collector->lock);
  collector->last_was_emergency = emergency;
  os_mutex_unlock(&collector->lock);
}

/* Without a collection: takes a buffer, and lets the heap grow for it where that is allowed. */
static void *allocate_without_collecting(tsr_mutator *mutator, tsr_bump_pointer *pair,
                                         const allocation *a) {
  void *result = allocate_try(mutator, pair, a);
  if (result != NULL || !allocate_grow(mutator->heap, a)) return result;
  return allocate_try(mutator, pair, a);
}

/* Climbs the ladder. NULL: at its end. */
static void *allocate_climb(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a) {
  tsr_heap *heap = mutator->heap;
  if (!heap->plan->collects || !collection_is_enabled(heap)) {
    return allocate_without_collecting(mutator, pair, a);
  }
  void *result = allocate_try(mutator, pair, a);
  for (uint32_t collections = 0; result == NULL; collections++) {
    if (collections == COLLECTIONS_PER_REQUEST) return NULL;
    if (collections > 1 && allocate_is_exhausted(heap->collector)) return NULL;
    allocate_collect(mutator, collections);
    result = allocate_without_collecting(mutator, pair, a);
  }
  return result;
}

static void *allocate_fail(tsr_mutator *mutator, const allocation *a, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  bool admitted = heap_could_admit(heap, allocation_default_blocks(a), allocation_large_blocks(a));
  bool system = admitted && !allocation_is_hopeless(heap, a) &&
                memory_headroom(&heap->account) >= a->bytes + BLOCK_BYTES;
  tsr_oom oom = {.kind = system ? TSR_OOM_SYSTEM : TSR_OOM_HEAP,
                 .requested_bytes = a->bytes,
                 .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                 .heap_max_bytes = heap->account.limit_bytes};
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for %zu bytes: %s (%zu of %zu bytes committed)",
            oom.requested_bytes,
            system ? "the system refused more below the heap's maximum"
                   : "the heap's maximum is reached",
            oom.committed_bytes, oom.heap_max_bytes);
  if ((a->request & TSR_ALLOC_NO_OOM_CALLBACK) == 0 && heap->binding->out_of_memory != NULL) {
    heap->binding->out_of_memory(heap->vm, mutator, &oom);
  }
  return NULL;
}

static bool allocate_stress_is_due(const tsr_mutator *mutator) {
  const tsr_heap *heap = mutator->heap;
  uint64_t stress = heap->options.values.stress;
  if (stress == 0 || !heap->plan->collects) return false;
  return stress == 1 || mutator->private_part->stress_bytes >= stress;
}

void *allocate(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a,
               tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  if (os_atomic_load(&mutator->private_part->state) != MUTATOR_MANAGED) {
    error_set(error, TSR_BUSY, "allocation in native code; tsr_leave_native() first");
    return NULL;
  }
  uintptr_t bumped = allocation_is_large(a) ? 0 : bump_allocate(pair, a);
  if (bumped != 0) return (void *)bumped;
  if (allocation_is_hopeless(heap, a)) return allocate_fail(mutator, a, error);
  if ((a->request & TSR_ALLOC_NO_COLLECT) != 0) {
    /* That a collection would be needed is no lack of memory yet: nobody is called back. */
    allocation quiet = *a;
    quiet.request |= TSR_ALLOC_NO_OOM_CALLBACK;
    void *result = allocate_without_collecting(mutator, pair, a);
    return result != NULL ? result : allocate_fail(mutator, &quiet, error);
  }
  if (allocate_stress_is_due(mutator) && collection_is_enabled(heap)) {
    mutator->private_part->stress_bytes = 0;
    collection_run(mutator, "stress");
  }
  void *result = allocate_climb(mutator, pair, a);
  return result != NULL ? result : allocate_fail(mutator, a, error);
}

/* ---- after the header is written ------------------------------------------------------------------------------ */

tsr_status allocate_finish(tsr_mutator *mutator, tsr_ref object, size_t bytes,
                           tsr_semantics semantics, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  tsr_status status = semantics_check(heap, semantics, error);
  if (status != TSR_OK) return status;
  if (((uintptr_t)object & (heap->object_align - 1)) != 0 ||
      block_map_space_of(&heap->blocks, (uintptr_t)object) <= BLOCK_FREE) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_post_alloc: %p is no object of this heap",
                     (void *)object);
  }
  const layout *l = header_load(object) == 0 ? NULL : layout_of(heap->layouts, object);
  if (l == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the header of the object at %p names no registered layout; "
                     "write the header first",
                     (void *)object);
  }
  size_t layout_bytes = layout_object_bytes(heap, l, object);
  if (layout_bytes != bytes) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: layout %s says that the object at %p has %zu bytes, not %zu",
                     l->name, (void *)object, layout_bytes, bytes);
  }
  if (header_gc_byte(header_load(object)) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the GC byte of the new object at %p is not zero; byte %d of "
                     "the first word belongs to the collector",
                     (void *)object, TSR_GC_BYTE_OFFSET);
  }
  if ((((uintptr_t)object + l->align_offset) & (l->align - 1)) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the object at %p was not allocated with the alignment of %u "
                     "that its layout %s promises",
                     (void *)object, l->align, l->name);
  }
  return TSR_OK;
}
