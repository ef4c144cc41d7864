/*
 * Reservations: buffers that a mutator has before it needs them. They serve default placement, and are given back at the
 * mutator's next safepoint.
 */
#ifndef CORE_ALLOC_RESERVATION_H
#define CORE_ALLOC_RESERVATION_H

#include "core/alloc/bump.h"

/* How many buffers, each a block, hold allocations from one pair, of so many bytes together, each of at most
   `largest`. */
size_t reservation_blocks(const tsr_heap *heap, size_t bytes, size_t largest);
/* And from any pair of the mutator's. */
size_t reservation_buffers(const tsr_mutator *mutator, size_t bytes, size_t largest);

/* Opens a reservation of so many buffers. False: they cannot be had with this allowance, and there is none. */
bool reservation_open(tsr_mutator *mutator, size_t buffers, memory_allowance allowance);

/* Whether the mutator has one that has not been used up. */
static inline bool reservation_is_open(const tsr_mutator *mutator) {
  return mutator->private_part->reserves;
}

/* Its next buffer, where that serves the slot and the allocation. False: it does not; or there is none
   left, and the reservation has ended. */
bool reservation_next(tsr_mutator *mutator, const bump_slot *slot, const allocation *a,
                      bump_buffer *taken);

/* Ends the reservation, if there is one, and gives back what is left of it. */
void reservation_end(tsr_mutator *mutator);

#endif
