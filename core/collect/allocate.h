/*
 * Allocation's slow path, from the mutator's side: buffers, collections, out of memory.
 */
#ifndef CORE_COLLECT_ALLOCATE_H
#define CORE_COLLECT_ALLOCATE_H

#include "core/alloc/bump.h"
#include "core/heap/hold.h"

/*
 * Serves a checked allocation, from the slot's pair where it is bumped: tries, collects, tries again;
 * NULL after the out_of_memory callback.
 */
void *allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a, tsr_error *error);

/* Makes what is held a reservation of the mutator's; the hold has ended then. A safepoint. False: the system refused. */
bool allocate_from_hold(tsr_mutator *mutator, memory_hold *hold);

/* Whether the mutator may open a reservation now: TSR_BUSY where it may not stop, or has one for a callback. */
tsr_status allocate_check_reserving(const tsr_mutator *mutator, const char *function,
                                    tsr_error *error);

/* Opens a reservation, by the same ladder but for the callback. The sizes are checked. */
tsr_status allocate_reserve(tsr_mutator *mutator, size_t bytes, size_t largest, tsr_error *error);

#endif
