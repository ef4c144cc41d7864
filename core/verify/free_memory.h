/*
 * Free memory that stays accessible under the verifier, for other objects of its block live: after a collection it
 * is filled with a word that is no reference, and before the next it must hold that word, or zero where it
 * was free from the start or given back out of a buffer. What else lies there somebody wrote who had no
 * right to.
 */
#ifndef CORE_VERIFY_FREE_MEMORY_H
#define CORE_VERIFY_FREE_MEMORY_H

#include "core/heap/heap.h"

/* Fills it. */
void free_memory_fill(const tsr_heap *heap);
/* Where a word is neither, and the word; 0: nowhere. */
uintptr_t free_memory_written(const tsr_heap *heap, uint64_t *word);

#endif
