/*
 * Allocation's slow path, from the mutator's side: buffers, collections, out of memory.
 */
#ifndef CORE_COLLECT_ALLOCATE_H
#define CORE_COLLECT_ALLOCATE_H

#include "core/alloc/bump.h"

/*
 * Serves a checked allocation, from the slot's pair where it is bumped: tries, collects, tries again;
 * NULL after the out_of_memory callback.
 */
void *allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a, tsr_error *error);

#endif
