/*
 * A hold on memory: room within the heap's maximum that nothing else may use. It is a charge to the account and a part of
 * the heap's current size, and no page is touched for it.
 */
#ifndef CORE_HEAP_HOLD_H
#define CORE_HEAP_HOLD_H

#include "core/heap/heap.h"

typedef struct memory_hold {
  uint32_t blocks; /* of default placement that there is room for; 0: nothing is held */
  size_t charged_bytes;
} memory_hold;

/* Whether a heap with nothing in it could hold so much. */
bool hold_is_possible(const tsr_heap *heap, size_t bytes);
/* Holds room for so many bytes in blocks of their own, instead of what is held. False: the heap has no room for what is
   more now, and nothing changed. */
bool hold_change(tsr_heap *heap, size_t bytes, memory_hold *hold);
/* Gives the room back, and forgets it. */
void hold_release(tsr_heap *heap, memory_hold *hold);

/* Takes and lets go the lock of holds around fork(). */
void hold_fork(tsr_heap *heap, os_fork_stage stage);

static inline size_t hold_bytes(const memory_hold *hold) {
  return (size_t)hold->blocks * BLOCK_BYTES;
}

#endif
