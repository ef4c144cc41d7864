/*
 * Allocation requests: what a VM may ask for, how each is served, and what a new object must look like.
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

/* How a placement with flags is served, in every plan. */
tsr_allocator_info semantics_allocator(tsr_semantics semantics);

static inline uint32_t allocation_placement(const allocation *a) {
  return a->semantics & TSR_PLACEMENT_MASK;
}

/* In blocks of its own. */
static inline bool allocation_is_large(const allocation *a) {
  return a->bytes > TSR_MAX_INLINE_BYTES || allocation_placement(a) == TSR_LARGE;
}

static inline bool allocation_is_sealable(const allocation *a) {
  return (a->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
}

/* From a bump pair: neither in blocks nor on pages of its own. */
static inline bool allocation_is_bumped(const allocation *a) {
  return !allocation_is_large(a) && !allocation_is_sealable(a);
}

#endif
