/*
 * tessera/barrier.h: the slow path and the bulk operations.
 */
#include <tessera/barrier.h>

#include "core/heap/heap.h"

void tsr_write_barrier_slow(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  mutator->heap->plan->barrier->slow(mutator, object, slot, 1, &word);
}

/* Before `count` slots are stored into, from `first` on: the same word into each, or NULL. */
static void slots_barrier(tsr_mutator *mutator, tsr_ref object, const tsr_slot *first, size_t count,
                          const uint64_t *word) {
  if (count == 0 || !tsr_is_armed(object)) return;
  mutator->heap->plan->barrier->slow(mutator, object, first, count, word);
}

static void slot_store(tsr_slot *slot, uint64_t word) {
#ifdef TSR_THREAD_SANITIZER
  __atomic_store_n(&slot->word, word, __ATOMIC_RELAXED);
#else
  slot->word = word;
#endif
}

void tsr_copy_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to, const tsr_slot *from,
                    size_t count) {
  slots_barrier(mutator, object, to, count, NULL);
  if ((uintptr_t)to <= (uintptr_t)from) {
    for (size_t i = 0; i < count; i++)
      slot_store(&to[i], tsr_load(mutator, &from[i]));
  } else {
    for (size_t i = count; i > 0; i--)
      slot_store(&to[i - 1], tsr_load(mutator, &from[i - 1]));
  }
}

void tsr_fill_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to, size_t count,
                    uint64_t word) {
  slots_barrier(mutator, object, to, count, &word);
  for (size_t i = 0; i < count; i++)
    slot_store(&to[i], word);
}
