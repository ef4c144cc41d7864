/*
 * tessera/alloc.h: the entries that are not inline.
 */
#include <tessera/alloc.h>

#include "core/alloc/objects.h"
#include "core/collect/allocate.h"
#include "core/os/error.h"

_Static_assert(TSR_OBJECT_ALIGN == 8, "the library itself is built for the least object alignment");

/* Checks, then the fast path, then the ladder. */
static void *alloc_checked(tsr_mutator *mutator, allocation *a, tsr_error *error) {
  if (allocation_check(mutator->heap, a, error) != TSR_OK) return NULL;
  return allocate(mutator, bump_slot_for(mutator, a), a, error);
}

/* The same from the pair that missed. One of the mutator's own says the placement, too. */
static void *alloc_checked_from(tsr_mutator *mutator, tsr_bump_pointer *pair, allocation *a,
                                tsr_error *error) {
  bump_slot *slot = bump_slot_of(mutator, pair);
  const struct tsr_mutator_private *own = mutator->private_part;
  uint32_t placement = TSR_DEFAULT;
  while (placement < TSR_PLACEMENTS && slot != &own->pairs[placement])
    placement++;
  if (placement == TSR_PLACEMENTS) placement = TSR_DEFAULT;
  if (allocation_placement(a) == TSR_DEFAULT) a->semantics |= placement;
  if (allocation_check(mutator->heap, a, error) != TSR_OK) return NULL;
  if (allocation_is_bumped(a) && allocation_placement(a) != placement) {
    error_set(error, TSR_INVALID_ARGUMENT,
              "tsr_alloc_slow: the pair at %p does not serve semantics 0x%x", (void *)pair,
              a->semantics);
    return NULL;
  }
  return allocate(mutator, slot, a, error);
}

/* For entries without a tsr_error: misuse is reported; running out of memory has its own callback. */
static void *alloc_reported(tsr_mutator *mutator, void *result, const tsr_error *error) {
  if (result == NULL && error->status != TSR_OUT_OF_MEMORY) {
    heap_report(mutator->heap, mutator, error);
  }
  return result;
}

/* What nearly every request is, served without a look at the rest; NULL: look. */
static inline void *alloc_common(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                                 tsr_semantics semantics) {
  size_t object_align = mutator->heap->object_align;
  if ((semantics | offset | mutator->heap->verifies) != 0) return NULL;
  if (align != object_align && align != TSR_GRANULE) return NULL;
  if (size - 1u >= TSR_MAX_INLINE_BYTES || (size & (object_align - 1)) != 0) return NULL;
  tsr_bump_pointer *pair = &mutator->bump[0];
  if (size > pair->limit - pair->cursor) return NULL;
  void *result = (void *)pair->cursor;
  pair->cursor += size;
  return result;
}

/* Apart, so that the common path saves no registers and makes no room on the stack. */
#if defined(__GNUC__)
__attribute__((noinline))
#endif
static void *
alloc_uncommon(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
               tsr_semantics semantics) {
  allocation a = {.bytes = size, .align = align, .offset = offset, .semantics = semantics};
  tsr_error error;
  return alloc_reported(mutator, alloc_checked(mutator, &a, &error), &error);
}

void *tsr_alloc(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                tsr_semantics semantics) {
  void *result = alloc_common(mutator, size, align, offset, semantics);
  return result != NULL ? result : alloc_uncommon(mutator, size, align, offset, semantics);
}

void *tsr_alloc_with(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                     tsr_semantics semantics, uint32_t request, tsr_error *error) {
  allocation a = {
      .bytes = size, .align = align, .offset = offset, .semantics = semantics, .request = request};
  return alloc_checked(mutator, &a, error);
}

void *tsr_alloc_slow(tsr_mutator *mutator, tsr_bump_pointer *pair, size_t size, size_t align,
                     size_t offset, tsr_semantics semantics) {
  allocation a = {.bytes = size, .align = align, .offset = offset, .semantics = semantics};
  tsr_error error;
  return alloc_reported(mutator, alloc_checked_from(mutator, pair, &a, &error), &error);
}

tsr_status tsr_post_alloc(tsr_mutator *mutator, tsr_ref object, size_t size,
                          tsr_semantics semantics) {
  tsr_error error;
  tsr_status status = new_object_check(mutator->heap, object, size, semantics, &error);
  if (status != TSR_OK) {
    heap_report(mutator->heap, mutator, &error);
    return status;
  }
  if ((semantics & TSR_LEAF) != 0) header_set_gc_bits(object, GC_LEAF);
  object_note_large(mutator->heap, object);
  return TSR_OK;
}

tsr_status tsr_shrink(tsr_mutator *mutator, tsr_ref object, size_t new_size, tsr_error *error) {
  return object_shrink(mutator, object, new_size, error);
}

tsr_status tsr_seal(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  return object_seal(mutator, object, error);
}

tsr_status tsr_unseal(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  return object_unseal(mutator, object, error);
}
