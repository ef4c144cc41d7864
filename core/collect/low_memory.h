/*
 * What an allocation that finds no memory has left: reclaimers, and the emergency reserve.
 */
#ifndef CORE_COLLECT_LOW_MEMORY_H
#define CORE_COLLECT_LOW_MEMORY_H

#include <tessera/low_memory.h>

#include "core/heap/heap.h"
#include "core/os/thread.h"

/* Builds heap->low_memory. */
tsr_status low_memory_open(tsr_heap *heap, tsr_error *error);
void low_memory_close(tsr_heap *heap);
/* Takes and lets go the lock of this part around fork(). */
void low_memory_fork(tsr_heap *heap, os_fork_stage stage);

/* ---- reclaimers ------------------------------------------------------------------------------- */

tsr_reclaimer *reclaimer_add(tsr_heap *heap, tsr_reclaim reclaim, void *context, tsr_error *error);
tsr_status reclaimer_remove(tsr_heap *heap, tsr_reclaimer *reclaimer, tsr_error *error);

/*
 * Calls the reclaimers from the first that has a number above `*last` on, until one gives something up; that one's number
 * is in `*last` then. False: none did. Numbers grow in the order in which reclaimers were added, and none is
 * given twice: a list that changes meanwhile hides nobody.
 */
bool reclaimers_call(tsr_mutator *mutator, size_t requested_bytes, uint64_t *last);

/* ---- the emergency reserve ------------------------------------------------------------------------- */

tsr_status emergency_hold(tsr_heap *heap, size_t bytes, tsr_error *error);
size_t emergency_bytes(tsr_heap *heap);

/* Makes the reserve a reservation of the mutator's, and returns its bytes; 0: none is held. A safepoint. */
size_t emergency_open(tsr_mutator *mutator);

#endif
