/*
 * Reservations.
 */
#include "core/alloc/reservation.h"

/* A buffer is left when the next object does not fit, so less than the largest of it is wasted. */
size_t reservation_blocks(const tsr_heap *heap, size_t bytes, size_t largest) {
  size_t used_bytes = BLOCK_BYTES - (largest - heap->object_align);
  return bytes / used_bytes + (bytes % used_bytes != 0);
}

/* Each pair that default placement may be served from keeps one that is not used up. */
size_t reservation_buffers(const tsr_mutator *mutator, size_t bytes, size_t largest) {
  return reservation_blocks(mutator->heap, bytes, largest) + mutator->private_part->cached_count;
}

static bool reservation_make_room(tsr_heap *heap, struct tsr_mutator_private *own, size_t buffers) {
  if (buffers <= own->reserved_capacity) return true;
  bump_buffer *grown = segment_request(&heap->account, MEMORY_MUTATORS, buffers * sizeof *grown);
  if (grown == NULL) return false;
  segment_release(&heap->account, MEMORY_MUTATORS, own->reserved,
                  own->reserved_capacity * sizeof *grown);
  own->reserved = grown;
  own->reserved_capacity = buffers;
  return true;
}

bool reservation_open(tsr_mutator *mutator, size_t buffers, memory_allowance allowance) {
  struct tsr_mutator_private *own = mutator->private_part;
  reservation_end(mutator);
  if (!reservation_make_room(mutator->heap, own, buffers)) return false;
  own->reserves = true;
  while (own->reserved_count < buffers) {
    bump_buffer *next = &own->reserved[own->reserved_count];
    if (!bump_take_buffer(mutator, &own->pairs[TSR_DEFAULT], BLOCK_BYTES, BLOCK_BYTES, allowance,
                          NULL, next)) {
      reservation_end(mutator);
      return false;
    }
    own->reserved_count++;
  }
  return true;
}

bool reservation_next(tsr_mutator *mutator, const bump_slot *slot, const allocation *a,
                      bump_buffer *taken) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (allocation_placement(a) != TSR_DEFAULT || !allocation_is_bumped(a)) return false;
  TSR_CHECK(slot->is_default, "a pair that a reservation serves is one for default placement");
  (void)slot;
  own->reserves = own->reserved_count > 0;
  if (own->reserves) *taken = own->reserved[--own->reserved_count];
  return own->reserves;
}

void reservation_end(tsr_mutator *mutator) {
  struct tsr_mutator_private *own = mutator->private_part;
  while (own->reserved_count > 0)
    bump_give_back(mutator->heap, own->reserved[--own->reserved_count]);
  own->reserves = false;
}
