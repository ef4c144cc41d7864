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
#include "core/heap/heap.h"

/* One allocation, checked. */
typedef struct allocation {
  size_t bytes;
  size_t align; /* at least the heap's object alignment */
  size_t offset;
  tsr_semantics semantics;
  uint32_t request; /* TSR_ALLOC_... */
} allocation;

/* Serves the allocation from the pair, or returns 0. */
uintptr_t bump_allocate(tsr_bump_pointer *pair, const allocation *a);

/* Gives up what is left in the pair, takes a new buffer, and serves the allocation from it. 0: the heap
   does not admit it without a collection, or there is no memory; the pair is empty then. */
uintptr_t bump_refill(tsr_mutator *mutator, tsr_bump_pointer *pair, const allocation *a);

/* Empties a pair; its buffer stays walkable. */
void bump_retire(tsr_heap *heap, tsr_bump_pointer *pair);

/* Empties every pair that Tessera knows of a mutator. */
void bump_revoke_all(struct tsr_mutator_private *mutator);

tsr_status bump_register(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);
tsr_status bump_unregister(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);

#endif
