/*
 * tessera/barrier.h: the slow path and the bulk operations.
 */
#include <tessera/barrier.h>

#include "core/heap/heap.h"

void tsr_write_barrier_slow(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  mutator->heap->plan->barrier->slow(mutator, object, slot, word);
}

void tsr_copy_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to, const tsr_slot *from,
                    size_t count) {
  if ((uintptr_t)to <= (uintptr_t)from) {
    for (size_t i = 0; i < count; i++)
      tsr_write(mutator, object, &to[i], tsr_load(mutator, &from[i]));
  } else {
    for (size_t i = count; i > 0; i--) {
      tsr_write(mutator, object, &to[i - 1], tsr_load(mutator, &from[i - 1]));
    }
  }
}

void tsr_fill_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to, size_t count,
                    uint64_t word) {
  for (size_t i = 0; i < count; i++)
    tsr_write(mutator, object, &to[i], word);
}
