/*
 * The bump allocator: a pair of cursor and limit over a buffer that one mutator has for itself.
 *
 * The buffer is zeroed when it is taken, so what the pair gives up at its end is a row of fillers
 * [design: walkable-blocks]. Every pair of a mutator, one of its own or one that the VM
 * caches, is the only owner of its buffer [design: cached-pairs]. A pair that comes in holding
 * memory that is not its mutator's any more is stale: the VM kept a copy over a collection.
 */
#ifndef CORE_ALLOC_BUMP_H
#define CORE_ALLOC_BUMP_H

#include "core/alloc/mutator.h"
#include "core/alloc/request.h"

/* Empty pairs for a mutator that is being bound. */
void bump_open(tsr_mutator *mutator);
/* Frees what bump_register() and the verifier's records took. */
void bump_close(struct tsr_mutator_private *own);

/* The slot that serves an allocation, and the one of a pair. A pair that is neither the mutator's own nor
   registered is served from the copy space: whoever has it sets it to zero when mutators are resumed. */
bump_slot *bump_slot_for(tsr_mutator *mutator, const allocation *a);
bump_slot *bump_slot_of(tsr_mutator *mutator, tsr_bump_pointer *pair);

/* Serves the allocation from the slot's pair, or returns 0. A stale pair is fatal. */
uintptr_t bump_allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a);

/* Takes a buffer that has room for the allocation. False: the heap does not admit it without a
   collection, or there is no memory. */
bool bump_take(tsr_mutator *mutator, bump_slot *slot, const allocation *a,
               memory_allowance allowance, bump_buffer *taken);
/* The same for a buffer of `preferred` bytes, at least `least`. */
bool bump_take_buffer(tsr_mutator *mutator, const bump_slot *slot, size_t least, size_t preferred,
                      memory_allowance allowance, arena_cursor *cursor, bump_buffer *taken);
/* Gives back a whole block that was taken and not installed. */
void bump_give_back(tsr_heap *heap, bump_buffer taken);

/* Retires what is left in the pair, makes the buffer its own, and serves the allocation from it. */
uintptr_t bump_install(tsr_mutator *mutator, bump_slot *slot, bump_buffer taken,
                       const allocation *a);

/* A pair of the mutator's that is stale; NULL: none is. */
const tsr_bump_pointer *bump_stale_pair(const tsr_mutator *mutator);

/* Empties every pair that Tessera knows of a mutator; their buffers stay walkable. A stale pair is fatal. */
void bump_revoke_all(tsr_mutator *mutator);
/* Fatal where a buffer could not be walked then. The verifier, which comes in between, says more. */
void bump_check_revoked(const tsr_mutator *mutator);

/* Empties every pair that Tessera knows for the time of a no-allocation section; and gives each what it held. */
void bump_set_aside(tsr_mutator *mutator);
void bump_put_back(tsr_mutator *mutator);

/* If the object is the last in one of the mutator's buffers, ends it at `end` and returns true. */
bool bump_cut_last(tsr_mutator *mutator, uintptr_t old_end, uintptr_t end);

tsr_status bump_register(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);
tsr_status bump_unregister(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error);

#endif
