/*
 * Allocation's slow path, from the mutator's side: buffers, collections, out of memory.
 */
#ifndef CORE_COLLECT_ALLOCATE_H
#define CORE_COLLECT_ALLOCATE_H

#include "core/alloc/bump.h"

/*
 * Serves a checked allocation, from `pair` where it goes to bump buffers: tries, collects, tries again;
 * NULL after the out_of_memory callback.
 */
void *allocate(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a, tsr_error *error);

#endif
