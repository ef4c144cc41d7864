/*
 * The bump allocator: a pair of cursor and limit over a buffer that one mutator has for itself.
 *
 * The buffer is zeroed when it is taken, so what the pair gives up at its end is a row of fillers
 * and needs no closing [design: walkable-blocks]. Every pair of a mutator, its own or one that the VM
 * caches, is the only owner of its buffer [design: cached-pairs].
 */
#ifndef CORE_ALLOC_BUMP_H
#define CORE_ALLOC_BUMP_H

#include "core/alloc/mutator.h"
#include "core/alloc/request.h"
#include "core/space/bump_blocks.h"

/* Serves the allocation from the pair, or returns 0. */
uintptr_t bump_allocate(tsr_bump_pointer *pair, const allocation *a);

/* Takes a buffer that has room for the allocation. False: the heap does not admit it without a
   collection, or there is no memory. */
bool bump_take(tsr_mutator *mutator, const allocation *a, bump_buffer *taken);

/* Gives up what is left in the pair, makes the buffer its own, and serves the allocation from it. */
uintptr_t bump_install(tsr_mutator *mutator, tsr_bump_pointer *pair, bump_buffer taken,
                       const allocation *a);

/* Empties a pair; its buffer stays walkable. */
void bump_retire(tsr_heap *heap, tsr_bump_pointer *pair);

/* Empties every pair that Tessera knows of a mutator. */
void bump_revoke_all(struct tsr_mutator_private *mutator);

tsr_status bump_register(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);
tsr_status bump_unregister(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);

#endif
