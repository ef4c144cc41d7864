/*
 * tessera/alloc.h: the entries that are not inline.
 */
#include <tessera/alloc.h>

#include "core/collect/allocate.h"
#include "core/os/error.h"

_Static_assert(TSR_OBJECT_ALIGN == 8, "the library itself is built for the least object alignment");

/* Checks, then the fast path, then the ladder. */
static void *alloc_checked(tsr_mutator *mutator, tsr_bump_pointer *pair, allocation *a,
                           tsr_error *error) {
  if (allocation_check(mutator->heap, a, error) != TSR_OK) return NULL;
  return allocate(mutator, pair, a, error);
}

/* For entries without a tsr_error: misuse is reported; running out of memory has its own callback. */
static void *alloc_or_report(tsr_mutator *mutator, tsr_bump_pointer *pair, allocation *a) {
  tsr_error error;
  void *result = alloc_checked(mutator, pair, a, &error);
  if (result == NULL && error.status != TSR_OUT_OF_MEMORY) {
    heap_report(mutator->heap, mutator, &error);
  }
  return result;
}

/* What nearly every request is, served without a look at the rest; NULL: look. */
static inline void *alloc_common(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                                 tsr_semantics semantics) {
  size_t object_align = mutator->heap->object_align;
  if (semantics != TSR_DEFAULT || offset != 0) return NULL;
  if (align != object_align && align != TSR_GRANULE) return NULL;
  if (size - 1u >= TSR_MAX_INLINE_BYTES || (size & (object_align - 1)) != 0) return NULL;
  tsr_bump_pointer *pair = &mutator->bump[0];
  if (size > pair->limit - pair->cursor) return NULL;
  void *result = (void *)pair->cursor;
  pair->cursor += size;
  return result;
}

void *tsr_alloc(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                tsr_semantics semantics) {
  void *result = alloc_common(mutator, size, align, offset, semantics);
  if (result != NULL) return result;
  allocation a = {.bytes = size, .align = align, .offset = offset, .semantics = semantics};
  return alloc_or_report(mutator, &mutator->bump[0], &a);
}

void *tsr_alloc_with(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                     tsr_semantics semantics, uint32_t request, tsr_error *error) {
  allocation a = {
      .bytes = size, .align = align, .offset = offset, .semantics = semantics, .request = request};
  return alloc_checked(mutator, &mutator->bump[0], &a, error);
}

void *tsr_alloc_slow(tsr_mutator *mutator, tsr_bump_pointer *pair, size_t size, size_t align,
                     size_t offset, tsr_semantics semantics) {
  allocation a = {.bytes = size, .align = align, .offset = offset, .semantics = semantics};
  return alloc_or_report(mutator, pair, &a);
}

tsr_status tsr_post_alloc(tsr_mutator *mutator, tsr_ref object, size_t size,
                          tsr_semantics semantics) {
  tsr_error error;
  tsr_status status = new_object_check(mutator->heap, object, size, semantics, &error);
  if (status != TSR_OK) heap_report(mutator->heap, mutator, &error);
  return status;
}
