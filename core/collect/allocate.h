/*
 * Allocation's slow path, from the mutator's side: checks, buffers, collections, out of memory.
 */
#ifndef CORE_COLLECT_ALLOCATE_H
#define CORE_COLLECT_ALLOCATE_H

#include <tessera/alloc.h>

#include "core/alloc/bump.h"

/* Checks an allocation and completes it in place: a copy of what was just written, field by field, would
   stall the processor's store forwarding on every generic allocation. */
tsr_status allocation_check(const tsr_heap *heap, allocation *a, tsr_error *error);

/*
 * Serves a checked allocation, from `pair` where it goes to bump buffers: tries, collects, tries again;
 * NULL after the out_of_memory callback.
 */
void *allocate(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a, tsr_error *error);

/* What the plan must know of a new object, and whether it is what the VM says. */
tsr_status allocate_finish(tsr_mutator *mutator, tsr_ref object, size_t bytes,
                           tsr_semantics semantics, tsr_error *error);

#endif
