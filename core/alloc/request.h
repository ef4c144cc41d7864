/*
 * Allocation requests: what a VM may ask for, and what a new object must look like.
 */
#ifndef CORE_ALLOC_REQUEST_H
#define CORE_ALLOC_REQUEST_H

#include <tessera/alloc.h>

#include "core/heap/heap.h"

/* One allocation. */
typedef struct allocation {
  size_t bytes;
  size_t align; /* once checked, at least the heap's object alignment */
  size_t offset;
  tsr_semantics semantics;
  uint32_t request; /* TSR_ALLOC_... */
} allocation;

/* Checks an allocation and completes it in place: a copy of what was just written, field by field,
   would stall the processor's store forwarding on every generic allocation. */
tsr_status allocation_check(const tsr_heap *heap, allocation *a, tsr_error *error);

/* Whether a new object is what the VM says: in this heap, of a known layout, of that size and alignment,
   with a zero GC byte. */
tsr_status new_object_check(const tsr_heap *heap, tsr_ref object, size_t bytes,
                            tsr_semantics semantics, tsr_error *error);

static inline bool allocation_is_large(const allocation *a) {
  return a->bytes > TSR_MAX_INLINE_BYTES || (a->semantics & TSR_PLACEMENT_MASK) == TSR_LARGE;
}

#endif
